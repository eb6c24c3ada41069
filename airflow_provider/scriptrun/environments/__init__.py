"""What a script runs in: from a recipe to a plan that the target carries out. Plans only; nothing is built here."""
