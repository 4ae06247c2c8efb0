# What the boards here have in common; each includes it after MicroPython's own definition of that board.
# Flash of 4 MiB, unless a variant says otherwise: BOARD_VARIANT=FLASH_8M or FLASH_16M.

set(GAPCAST_BOARDS_DIR ${CMAKE_CURRENT_LIST_DIR})

# ESP-IDF looks for the partition table below MicroPython's ports/esp32, so it has to be named by its whole path.
function(gapcast_flash size_mib)
    set(fragment ${CMAKE_BINARY_DIR}/sdkconfig.gapcast-flash)
    set(lines "CONFIG_PARTITION_TABLE_CUSTOM=y\n")
    string(APPEND lines "CONFIG_PARTITION_TABLE_CUSTOM_FILENAME=\"${GAPCAST_BOARDS_DIR}/partitions-${size_mib}MiB.csv\"\n")
    foreach(other 2 4 8 16 32)
        if(NOT other EQUAL size_mib)
            string(APPEND lines "CONFIG_ESPTOOLPY_FLASHSIZE_${other}MB=\n")
        endif()
    endforeach()
    string(APPEND lines "CONFIG_ESPTOOLPY_FLASHSIZE_${size_mib}MB=y\n")
    file(WRITE ${fragment} "${lines}")
endfunction()

gapcast_flash(4)

list(APPEND SDKCONFIG_DEFAULTS
    ${GAPCAST_BOARDS_DIR}/sdkconfig.gapcast
    ${MICROPY_BOARD_DIR}/sdkconfig.board
    ${CMAKE_BINARY_DIR}/sdkconfig.gapcast-flash
)

set(MICROPY_FROZEN_MANIFEST ${MICROPY_BOARD_DIR}/manifest.py)
