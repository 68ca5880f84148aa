// Makes buffers of the data path impossible to allocate, by chance, for a while.
//
// The programs of this folder are linked so that malloc() called by their own code comes through
// here; operator new and the C++ library are not affected.
#pragma once

#include "impair/random.h"

namespace sluice::sim {

class AllocationFault {
 public:
  AllocationFault(double chance, impair::Random& random);
  ~AllocationFault();
  AllocationFault(const AllocationFault&) = delete;
  AllocationFault& operator=(const AllocationFault&) = delete;
};

}  // namespace sluice::sim
