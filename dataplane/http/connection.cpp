#include "http/connection.h"

#include "h1_writer.h"

namespace sluice::http {

std::string_view to_string(Error error) {
  switch (error) {
    case Error::none:
      return "none";
    case Error::protocol:
      return "protocol";
    case Error::too_large:
      return "too_large";
    case Error::flow_control:
      return "flow_control";
    case Error::cancelled:
      return "cancelled";
    case Error::refused:
      return "refused";
    case Error::abuse:
      return "abuse";
    case Error::timed_out:
      return "timed_out";
    case Error::internal:
      return "internal";
    case Error::truncated:
      return "truncated";
  }
  return "unknown";
}

std::string_view reason_phrase(std::uint16_t status) {
  switch (status) {
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 206:
      return "Partial Content";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 417:
      return "Expectation Failed";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Status";
  }
}

}  // namespace sluice::http
