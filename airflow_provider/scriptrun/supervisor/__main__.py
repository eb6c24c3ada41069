"""``python -m <this package> serve --root <root>``: how a checkout starts it; an installed one has an outer ``__main__``."""

from .serve import main

main()
