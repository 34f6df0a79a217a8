// SPDX-License-Identifier: Apache-2.0
#include "app/ctl/binary_file.hpp"

#include "cache/attestation.hpp"
#include "sys/file.hpp"

namespace fallbackd::ctl {

Result<cache::PackItem> binaryFile(const std::string& file, const std::vector<std::string>& attestations) {
  constexpr std::size_t kMaxAttestation = 1 << 20;
  const auto& first = attestations.front();
  FB_TRY(const auto text, sys::readFile(Stage::cli, first, kMaxAttestation));
  FB_TRY(const auto envelope, cache::parseEnvelope(text, first));
  FB_TRY(const auto statement, cache::parseStatement(envelope.payload, first));
  return cache::PackItem{statement.ref, file, attestations};
}

}  // namespace fallbackd::ctl
