// SPDX-License-Identifier: Apache-2.0
// Answers of the distribution protocol: https://github.com/opencontainers/distribution-spec. Pure.
#pragma once

#include "cri/image_store.hpp"
#include "http/server.hpp"
#include "mirror/offer.hpp"
#include "mirror/question.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace fallbackd::mirror {

/// The error codes of the specification that a read-only registry has.
enum class Code : std::uint8_t { manifest_unknown, blob_unknown, name_unknown, unauthorized, unsupported };

/// {"errors": [{"code": ..., "message": ...}]}
http::Response errorAnswer(unsigned status, Code code, const std::string& message);

/// For a refusal by the HTTP server itself.
http::Response refusalAnswer(unsigned status, std::string text);

/// The answer for /v2/ itself. containerd does not request it; other clients send their token only after a
/// challenge. This challenge names no URL to which a client could send a password.
enum class Holder : std::uint8_t { no, yes };
http::Response baseAnswer(Holder holder);

http::Response manifestAnswer(Offer offer, http::Request::Method method);

/// Without a body: 200, 206 or 416. `range` is set to what a GET has to send.
http::Response blobAnswer(const std::string& digest, std::int64_t size, std::string_view rangeHeader,
                          std::optional<ByteRange>& range);

}  // namespace fallbackd::mirror
