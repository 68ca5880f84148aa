#include "base/slots.h"

#include <sys/mman.h>

#include <cstdlib>

namespace sluice {

void* allocate_huge_page() {
  void* page = std::aligned_alloc(kHugePage, kHugePage);
  if (page != nullptr) madvise(page, kHugePage, MADV_HUGEPAGE);
  return page;
}

void free_huge_page(void* page) { std::free(page); }

}  // namespace sluice
