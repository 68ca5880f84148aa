// Any bytes as a file of resource documents, through to compiled snapshots.
#include <cstdint>

#include "documents.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto values =
      sluice::control::yaml_to_json(std::string(reinterpret_cast<const char*>(data), size), "fuzz");
  if (!values) {
    if (values.error().empty()) std::abort();
    return 0;
  }
  std::size_t checked = 0;
  for (const auto& value : *values) {
    if (++checked > 8) break;
    sluice::control::check_document(value);
  }
  return 0;
}
