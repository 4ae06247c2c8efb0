# For modules with 16 MiB of flash.
gapcast_flash(16)
