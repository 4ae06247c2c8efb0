# MicroPython's own definition of this board, and what Gapcast changes.
set(IDF_TARGET esp32s3)
include(boards/ESP32_GENERIC_S3/mpconfigboard.cmake)
include(${MICROPY_BOARD_DIR}/../gapcast.cmake)
