// MicroPython's own definition of this board (ports/esp32 is in the include path), under a name of ours.
#include "boards/ESP32_GENERIC/mpconfigboard.h"

#undef MICROPY_HW_BOARD_NAME
#define MICROPY_HW_BOARD_NAME "Generic ESP32 module with Gapcast"
