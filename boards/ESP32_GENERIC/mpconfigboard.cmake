# MicroPython's own definition of this board, and what Gapcast changes.
set(IDF_TARGET esp32)
include(boards/ESP32_GENERIC/mpconfigboard.cmake)
include(${MICROPY_BOARD_DIR}/../gapcast.cmake)
