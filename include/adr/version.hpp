// The one place of the library's version; CMake reads these three lines.
#pragma once

#define ADR_VERSION_MAJOR 0
#define ADR_VERSION_MINOR 1
#define ADR_VERSION_PATCH 0
