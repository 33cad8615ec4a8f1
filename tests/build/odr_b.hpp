// What odr_b.cpp offers to a program that it is linked with.
#pragma once

/// small_product() as this translation unit compiled it.
double product_of_other_unit();

/// Asks for 65 hyperplanes, which no configuration may.
void refuse_in_other_unit();
