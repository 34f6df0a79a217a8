// SPDX-License-Identifier: Apache-2.0
// Strict JSON for untrusted input: limited size and depth, no duplicate keys, nothing after the end.
#pragma once

#include "base/base64.hpp"
#include "base/error.hpp"

#include <cstddef>
#include <string>
#include <string_view>

#include <boost/json.hpp>

namespace fallbackd::cache {

/// How large a text may be; the defaults are for untrusted input.
struct JsonLimits {
  std::size_t bytes = 1 << 20;
  std::size_t entries = 4096;  // of one object
};

/// Stage admission, reason attestation_malformed, or too_large if a limit is exceeded; `what` names the text
/// in the message.
Result<boost::json::value> parseStrict(std::string_view text, const std::string& what,
                                       const JsonLimits& limits = {});

/// The string at `key`; empty if it is absent or not a string.
std::string stringAt(const boost::json::object& object, std::string_view key);

/// Decodes base64 as base/base64.hpp does. Reason attestation_malformed; `what` names the text in the
/// message.
Result<std::string> decodeBase64(std::string_view text, const std::string& what);

}  // namespace fallbackd::cache
