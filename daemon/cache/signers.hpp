// SPDX-License-Identifier: Apache-2.0
// The attestation files of one binary, and what enough different keys attest in them.
#pragma once

#include "cache/attestation.hpp"
#include "cache/keyring.hpp"
#include "cache/ownership.hpp"
#include "domain/binary_ref.hpp"
#include "sys/fd.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::cache {

inline constexpr std::string_view kAttestationSuffix = ".sigstore.json";

/// NAME-vVERSION.sigstore.json and, for more signers, NAME-vVERSION.ANYTHING.sigstore.json in `dir`, named
/// `folder` in messages.
Result<std::vector<CheckedFile>> openAttestations(const sys::DirFd& dir, const std::string& folder,
                                                  const BinaryRef& ref, uid_t owner);

/// Their names alone.
Result<std::vector<std::string>> attestationNames(const sys::DirFd& dir, const BinaryRef& ref);

/// What at least `threshold` keys signed about `ref`. If no attestation is about it, the first one's
/// statement, so that a renamed binary can be reported. `files` must not be empty. One file that is damaged
/// or signed by an unknown key does no harm if the others suffice.
Result<VerifiedStatement> verifySigners(const std::vector<CheckedFile>& files, const BinaryRef& ref,
                                        const Keyring& keyring, unsigned threshold);

}  // namespace fallbackd::cache
