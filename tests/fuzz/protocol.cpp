// SPDX-License-Identifier: Apache-2.0
// The messages between daemon, spawner and spare, in both directions; the first byte selects the direction. A
// message that was read is written and read again, and must be the same.
#include "spawner/protocol.hpp"

#include "fuzz.hpp"
#include "spawner/child_report.hpp"
#include "spawner/report_order.hpp"

using namespace fallbackd;
using namespace fallbackd::launcher;

namespace {

template <class Message, class Decode>
void roundTrip(const Message& message, Decode decode) {
  const auto bytes = encode(message);
  fuzz::demand(bytes.has_value(), "a message that was read can be written");
  const auto again = decode(*bytes);
  fuzz::demand(again.has_value(), "a message that was written can be read");
  const auto second = encode(*again);
  fuzz::demand(second && *second == *bytes, "and it is the same message");
}

/// Reports from three processes in turn, two bytes each.
void order(std::string_view bytes) {
  constexpr pid_t kSpare = 1;
  ReportOrder reports(kSpare);
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) {
    const pid_t before = reports.child();
    const auto sender = static_cast<pid_t>(bytes[i] & 3);
    const bool due = reports.accept(sender, static_cast<ChildReport::Kind>(bytes[i + 1] & 3));
    fuzz::demand(before == 0 || reports.child() == before, "the child does not change");
    fuzz::demand(!due || sender == kSpare || sender == reports.child(), "only the child reports for itself");
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto bytes = fuzz::text(data, size).substr(1);
  switch (*data) {
    case 'l':
      if (const auto launch = decodeLaunch(bytes)) roundTrip(*launch, &decodeLaunch);
      break;
    case 'o':
      if (const auto given = decodeOrder(bytes)) roundTrip(*given, &decodeOrder);
      break;
    case 'r':
      if (const auto report = decodeReport(bytes)) roundTrip(*report, &decodeReport);
      break;
    case 'c':
      if (const auto report = decodeChildReport(std::span(bytes))) {
        fuzz::demand(!kSteps[static_cast<std::size_t>(report->step)].text.empty(), "its step exists");
      }
      break;
    default:
      order(bytes);
  }
  return 0;
}
