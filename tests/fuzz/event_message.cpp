// SPDX-License-Identifier: Apache-2.0
// A text from containerd, a registry or an operator, as the message of an Event.
#include "fuzz.hpp"
#include "kube/event_note.hpp"

#include <algorithm>
#include <string>

#include <boost/json.hpp>

using namespace fallbackd;

namespace {

constexpr std::string_view kSecret = "5ecr3tPassw0rd";

bool hasSecret(std::string_view text) {
  return text.find(kSecret) != std::string_view::npos;
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = fuzz::text(data, size);
  const auto message = kube::eventMessage(input);
  fuzz::demand(message.size() <= kube::kMaxEventMessage, "the API accepts its length");
  fuzz::demand(std::none_of(message.begin(), message.end(),
                            [](char c) {
                              const auto byte = static_cast<unsigned char>(c);
                              return byte < 0x20 || byte == 0x7f;
                            }),
               "no control characters");
  boost::json::error_code error;
  boost::json::parse(boost::json::serialize(boost::json::string(message)), error);
  fuzz::demand(!error, "it is valid UTF-8");
  if (hasSecret(input)) return 0;
  const std::string text(input);
  const std::string secret(kSecret);
  for (const auto& told : {"Get \"https://user:" + secret + "@r/v2/\": ", "http://" + secret + "@p/ ",
                           "Get https://r/?sig=" + secret + " ", "Authorization: Bearer " + secret + " ",
                           "{\"password\":\"" + secret + "\"} ", "token=" + secret + " "}) {
    fuzz::demand(!hasSecret(kube::eventMessage(told + text)), "no text after a secret shows it");
    fuzz::demand(!hasSecret(kube::eventMessage(text + " " + told)), "no text before a secret shows it");
  }
  return 0;
}
