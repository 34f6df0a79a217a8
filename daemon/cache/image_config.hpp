// SPDX-License-Identifier: Apache-2.0
// ImageConfig as JSON: the configuration of an OCI image, as `skopeo inspect --config` prints it, and the
// form in which an attestation's predicate records it. Both are untrusted text: bounded, and refused if any
// part is invalid.
#pragma once

#include "base/error.hpp"
#include "domain/image_config.hpp"

#include <cstddef>
#include <string>
#include <string_view>

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

namespace fallbackd::cache {

/// Bytes of all texts of one ImageConfig: they must fit into an attestation and into a process.
inline constexpr std::size_t kMaxImageConfigBytes = 128 * 1024;

struct ImageDocument {
  ImageConfig config;
  std::string os;            // "linux"; empty if the document does not say
  std::string architecture;  // "amd64"
};

/// Stage admission, reason attestation_malformed or too_large; `what` names the text in the message.
Result<ImageDocument> parseImageDocument(std::string_view text, const std::string& what);

/// The predicate's key `image`: {"user", "env": ["NAME=VALUE"], "entrypoint", "cmd", "workingDir"}, all of
/// them optional. Reason attestation_unsupported for any other key.
Result<ImageConfig> readImageConfig(const boost::json::value& value, const std::string& what);
boost::json::object writeImageConfig(const ImageConfig& config);

}  // namespace fallbackd::cache
