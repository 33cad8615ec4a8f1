// What layers of doubles take to compile, once for all tests.
#define ADR_DEFINE_LAYERS_DOUBLE
#include "adr/extern_layers.hpp"
