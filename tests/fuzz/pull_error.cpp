// SPDX-License-Identifier: Apache-2.0
// A pull's error: containerd's text with text of others inside. The input is the requested reference, a line
// break, and the text.
#include "watcher/causes/pull_error.hpp"

#include "fuzz.hpp"

#include <string>

using namespace fallbackd;

namespace {

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out.push_back('\\');
    out.push_back(c);
  }
  return out + "\": ";
}

bool says(const std::string& text, const std::string& reference, Cause cause) {
  return watcher::readPullError(text, reference).cause == cause;
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = fuzz::text(data, size);
  const auto end = input.find('\n');
  const std::string reference = "r.example.com/" + std::string(input.substr(0, end));
  const auto text = end == std::string_view::npos ? std::string_view() : input.substr(end + 1);

  const auto error = watcher::readPullError(text, reference);
  fuzz::demand(error.words.size() <= 200, "the text is short");
  if (error.place == watcher::Place::node && error.cause) {
    fuzz::demand(error.cause == Cause::unknown || error.cause == Cause::disk || error.cause == Cause::policy,
                 "a fault of this node is not an outage");
  }
  watcher::readPullError(text, {});

  const auto resolving = "failed to pull and unpack image " + quoted(reference) +
                         "failed to resolve reference " + quoted(reference);
  fuzz::demand(says(resolving + "failed to do request: Head \"https://r/\": net/http: TLS handshake timeout",
                    reference, Cause::timeout),
               "no reference hides an outage");
  fuzz::demand(says(resolving + reference + ": not found", reference, Cause::not_found),
               "no reference turns an answer into an outage");
  fuzz::demand(says("failed to parse image reference " + quoted(reference) + "invalid reference format",
                    reference, Cause::unknown),
               "no reference causes an outage itself");
  const auto elsewhere = watcher::readPullError("failed to pull and unpack image " + quoted(reference) +
                                                    "failed to copy: httpReadSeeker: failed open: failed to "
                                                    "do request: Get \"https://store.invalid/x\": EOF",
                                                reference);
  fuzz::demand(elsewhere.cause == Cause::unreachable, "no reference hides a dead host of layers");
  fuzz::demand(elsewhere.extent == watcher::Extent::one_image, "no reference makes it the registry's fault");
  return 0;
}
