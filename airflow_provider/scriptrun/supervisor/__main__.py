"""``python -m <this package> serve --root <root>``, as a checkout starts it."""

from .serve import main

main()
