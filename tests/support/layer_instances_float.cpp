#include "support/layer_instances.hpp"

ADR_NAMESPACE_BEGIN
ADR_TEST_LAYER_PASSES(template, float);
ADR_NAMESPACE_END
