"""Sans-IO TFTP: no sockets, no clocks, no logging; `now` is an argument (seconds, monotonic)."""
