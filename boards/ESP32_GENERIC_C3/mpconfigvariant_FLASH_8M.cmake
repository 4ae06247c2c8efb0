# For modules with 8 MiB of flash.
gapcast_flash(8)
