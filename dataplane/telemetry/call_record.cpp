#include "telemetry/call_record.h"

namespace sluice::telemetry {

std::string_view to_string(Stage stage) {
  switch (stage) {
    case Stage::receive:
      return "receive";
    case Stage::identify:
      return "identify";
    case Stage::classify:
      return "classify";
    case Stage::authorize:
      return "authorize";
    case Stage::connect:
      return "connect";
    case Stage::send:
      return "send";
    case Stage::wait:
      return "wait";
    case Stage::respond:
      return "respond";
    case Stage::count_:
      break;
  }
  return "unknown";
}

}  // namespace sluice::telemetry
