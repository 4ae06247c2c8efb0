"""What boards are: their definitions (boards/<BOARD>/gapcast.toml), partition tables and firmware files."""
