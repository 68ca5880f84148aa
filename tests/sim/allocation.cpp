#include "allocation.h"

#include <cstddef>

namespace sluice::sim {
namespace {

double chance_now = 0;
impair::Random* random_now = nullptr;

}  // namespace

AllocationFault::AllocationFault(double chance, impair::Random& random) {
  chance_now = chance;
  random_now = &random;
}

AllocationFault::~AllocationFault() { chance_now = 0; }

}  // namespace sluice::sim

extern "C" {
void* __real_malloc(std::size_t bytes);
void* __wrap_malloc(std::size_t bytes);

void* __wrap_malloc(std::size_t bytes) {
  using namespace sluice::sim;
  if (chance_now > 0 && random_now->chance(chance_now)) return nullptr;
  return __real_malloc(bytes);
}
}
