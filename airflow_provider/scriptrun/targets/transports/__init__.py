"""How a command reaches a host: argv in, byte streams out. One file per way."""
