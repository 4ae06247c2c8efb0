"""What a MicroPython build freezes of Gapcast: include this from a board's manifest.py (boards/README.md).

include("PATH/firmware/manifest.py", boot=False) leaves out the frozen boot.py, for a board that has its own.
"""

options.defaults(boot=True)

package("gapcast_core", base_path="lib")
package("gapcast_boot", base_path="lib")
if options.boot:
    module("boot.py", base_path="frozen")
