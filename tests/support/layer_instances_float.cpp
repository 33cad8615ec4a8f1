// What layers of floats take to compile, once for all tests.
#define ADR_DEFINE_LAYERS_FLOAT
#include "adr/extern_layers.hpp"
