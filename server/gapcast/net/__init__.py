"""The asyncio shell around the sans-IO machines: sockets, clock, signals, output."""
