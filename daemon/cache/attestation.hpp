// SPDX-License-Identifier: Apache-2.0
// Attestations: a Sigstore bundle or a bare DSSE envelope around an in-toto statement about one binary.
// Nothing in it is trusted before a key of the keyring has verified it; then exactly the verified bytes are
// parsed.
#pragma once

#include "base/clock.hpp"
#include "base/error.hpp"
#include "cache/crypto.hpp"
#include "cache/keyring.hpp"
#include "domain/binary_ref.hpp"
#include "domain/image_config.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::cache {

inline constexpr std::string_view kPredicateType = "https://fallbackd.io/attestations/binary/v1";
inline constexpr std::string_view kPayloadType = "application/vnd.in-toto+json";

/// The envelope from the file, decoded, not yet verified.
struct Envelope {
  std::string payloadType;
  std::string payload;
  std::vector<std::string> signatures;
};

/// Parses a Sigstore bundle (0.1 to 0.3, with dsseEnvelope and publicKey) or a bare DSSE envelope. Reasons:
/// attestation_malformed, attestation_unsupported (certificates, message signatures).
Result<Envelope> parseEnvelope(std::string_view text, const std::string& what);

/// DSSE's pre-authentication encoding: the bytes that are actually signed.
std::string preAuthEncoding(std::string_view payloadType, std::string_view payload);

/// The content of a verified statement.
struct Statement {
  BinaryRef ref;
  std::string digest;  // lower-case hex sha256
  std::string os;
  std::string arch;
  Wall::time_point expires;
  std::optional<std::string> minimumVersion;
  /// The namespaces whose pods may choose the binary by annotation; empty: none; absent: the node's
  /// configuration alone decides.
  std::optional<std::vector<std::string>> namespaces;
  /// What the replaced image would have given its process; absent: not known.
  std::optional<ImageConfig> image;
};

/// Parses a verified payload. Reasons: attestation_malformed, attestation_unsupported (other predicate).
Result<Statement> parseStatement(std::string_view payload, const std::string& what);
std::string writeStatement(const Statement& statement);

struct VerifiedStatement {
  Statement statement;
  std::vector<std::size_t> keys;  // indices into the keyring, each once
};
/// Parses, verifies with the keyring, then reads the statement. Reason untrusted_key if no key fits.
Result<VerifiedStatement> verifyAttestation(std::string_view text, const Keyring& keyring,
                                            const std::string& what);

/// A Sigstore bundle v0.3 around the statement, readable by cosign's verify-blob-attestation.
Result<std::string> signStatement(const Statement& statement, const PrivateKey& key);

}  // namespace fallbackd::cache
