#include <cstdio>

#include "eal_environment.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  auto eal = sluice::runtime::Eal::start({.instance = "sluice-unit",
                                          .worker_cpus = {0, 0},
                                          .hugepages = sluice::runtime::Hugepages::never,
                                          .memory_mb = 128});
  if (!eal) {
    std::fprintf(stderr, "%s\n", eal.error().c_str());
    return 1;
  }
  sluice::port::test_eal() = std::move(*eal);
  const int result = RUN_ALL_TESTS();
  sluice::port::test_eal().reset();
  return result;
}
