// What odr_b.cpp offers to a program that it is linked with, and odr_kernel_b.cpp the first of it.
#pragma once

/// small_product() or kernel_sum() as that translation unit compiled it.
double product_of_other_unit();

/// Asks for 65 hyperplanes, which no configuration may.
void refuse_in_other_unit();
