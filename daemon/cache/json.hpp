// Strict JSON for what strangers wrote: limited size and depth, no doubled keys, nothing behind the end.
#pragma once

#include "base/error.hpp"

#include <string>
#include <string_view>

#include <boost/json.hpp>

namespace fallbackd::cache {

/// Stage admission, reason attestation_malformed; `what` names the text in the message.
Result<boost::json::value> parseStrict(std::string_view text, const std::string& what);

/// The string at `key`; empty where it is absent or of another type.
std::string stringAt(const boost::json::object& object, std::string_view key);

/// The decoded bytes of base64 in the standard or the URL alphabet, padded or not; nothing else may be in it.
Result<std::string> decodeBase64(std::string_view text, const std::string& what);
std::string encodeBase64(std::string_view bytes);

}  // namespace fallbackd::cache
