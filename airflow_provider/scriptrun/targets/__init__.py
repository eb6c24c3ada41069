"""Where a script runs: the contract that every compute target keeps, and the targets. Imports nothing by itself."""
