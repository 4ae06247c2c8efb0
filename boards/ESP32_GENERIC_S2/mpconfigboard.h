// MicroPython's own definition of this board (ports/esp32 is in the include path), under a name of ours.
#include "boards/ESP32_GENERIC_S2/mpconfigboard.h"

#undef MICROPY_HW_BOARD_NAME
#define MICROPY_HW_BOARD_NAME "Generic ESP32S2 module with Gapcast"
