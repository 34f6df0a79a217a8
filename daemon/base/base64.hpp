// SPDX-License-Identifier: Apache-2.0
// Base64 (RFC 4648), strict: each text has one spelling.
#pragma once

#include <string>
#include <string_view>

#include <tl/expected.hpp>

namespace fallbackd {

/// Decodes the standard or the URL alphabet, padded or not; refuses any other character, and unused bits that
/// are not zero. The error completes "TEXT ...": "is not base64".
tl::expected<std::string, std::string_view> decodeBase64(std::string_view text);

/// Standard alphabet, padded.
std::string encodeBase64(std::string_view bytes);

}  // namespace fallbackd
