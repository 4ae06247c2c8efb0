# MicroPython's own definition of this board, and what Gapcast changes.
set(IDF_TARGET esp32c3)
include(boards/ESP32_GENERIC_C3/mpconfigboard.cmake)
include(${MICROPY_BOARD_DIR}/../gapcast.cmake)
