// A DNS server's reply as a DnsAnswer.
#pragma once

#include "base/bytes.h"
#include "controlplane/dns_table.h"

namespace sluice::control {

// `status` is what c-ares made of it; without a reply at all the message is empty.
DnsAnswer read_reply(RecordType type, int status, ByteSpan message);

}  // namespace sluice::control
