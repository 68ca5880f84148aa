// Any JSON as a resource document, through to a compiled snapshot.
#include <cstdint>

#include "documents.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  boost::json::error_code error;
  const auto value = boost::json::parse({reinterpret_cast<const char*>(data), size}, error);
  if (!error) sluice::control::check_document(value);
  return 0;
}
