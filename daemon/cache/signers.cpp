// SPDX-License-Identifier: Apache-2.0
#include "cache/signers.hpp"

#include "sys/file.hpp"

#include <algorithm>
#include <optional>
#include <utility>

namespace fallbackd::cache {

namespace {

constexpr std::size_t kMaxAttestationBytes = 1 << 20;
constexpr std::size_t kMaxAttestations = 64;  // as many as keys

/// Merges what another signer attested. All must agree on the bytes and their system; each signer chooses
/// dates, minimum versions and namespaces, and the strictest apply. An image configuration counts if every
/// signer attested it: a single signer must not add variables or arguments.
Result<> merge(VerifiedStatement& agreed, const VerifiedStatement& further, const std::string& path) {
  auto& known = agreed.statement;
  const auto& said = further.statement;
  if (said.digest != known.digest || said.os != known.os || said.arch != known.arch) {
    return fail(Stage::admission, Reason::attestation_malformed, path + " contradicts another attestation");
  }
  if (said.image && known.image && *said.image != *known.image) {
    return fail(Stage::admission, Reason::attestation_malformed,
                path + " records a different image configuration than another attestation");
  }
  if (!said.image) known.image.reset();
  known.expires = std::min(known.expires, said.expires);
  if (said.minimumVersion &&
      (!known.minimumVersion || compareVersions(*known.minimumVersion, *said.minimumVersion) < 0)) {
    known.minimumVersion = said.minimumVersion;
  }
  if (said.namespaces && known.namespaces) {
    std::erase_if(*known.namespaces, [&](const std::string& one) {
      return std::find(said.namespaces->begin(), said.namespaces->end(), one) == said.namespaces->end();
    });
  } else if (said.namespaces) {
    known.namespaces = said.namespaces;
  }
  for (const auto key : further.keys) {
    if (std::find(agreed.keys.begin(), agreed.keys.end(), key) == agreed.keys.end())
      agreed.keys.push_back(key);
  }
  return {};
}

}  // namespace

// With 1.8 and 1.8.3 side by side, an attestation of 1.8.3 looks like a further one of 1.8: a file that
// belongs to a binary in the folder belongs only to that binary.
Result<std::vector<std::string>> attestationNames(const sys::DirFd& dir, const BinaryRef& ref) {
  FB_TRY(const auto names, sys::listDir(Stage::admission, dir));
  const std::string prefix = ref.fileName() + ".";
  std::vector<std::string> found;
  for (const auto& name : names) {
    if (!name.starts_with(prefix) || !name.ends_with(kAttestationSuffix)) continue;
    const auto binary = name.substr(0, name.size() - kAttestationSuffix.size());
    const bool ofAnother = binary != ref.fileName() && std::binary_search(names.begin(), names.end(), binary);
    if (!ofAnother) found.push_back(name);
  }
  return found;
}

Result<std::vector<CheckedFile>> openAttestations(const sys::DirFd& dir, const std::string& folder,
                                                  const BinaryRef& ref, uid_t owner) {
  FB_TRY(const auto names, attestationNames(dir, ref));
  if (names.size() > kMaxAttestations) {
    return fail(Stage::admission, Reason::attestation_malformed,
                folder + " holds more than 64 attestations of " + ref.toString());
  }
  std::vector<CheckedFile> files;
  for (const auto& name : names) {
    FB_TRY(auto file, openChecked(dir, folder, name, owner));
    files.push_back(std::move(file));
  }
  return files;
}

Result<VerifiedStatement> verifySigners(const std::vector<CheckedFile>& files, const BinaryRef& ref,
                                        const Keyring& keyring, unsigned threshold) {
  std::optional<VerifiedStatement> agreed;
  std::optional<VerifiedStatement> foreign;
  std::optional<Error> firstError;
  for (const auto& file : files) {
    auto text = sys::readAll(Stage::admission, file.fd, kMaxAttestationBytes, file.path);
    if (!text) text.error().reason = Reason::attestation_malformed;
    auto one = text ? verifyAttestation(*text, keyring, file.path) : tl::unexpected<Error>(text.error());
    if (!one) {
      // The other files may be enough; if they are not, this is why.
      if (!firstError) firstError = one.error();
    } else if (one->statement.ref != ref) {
      if (!foreign) foreign = std::move(*one);
    } else if (!agreed) {
      agreed = std::move(*one);
    } else {
      FB_CHECK(merge(*agreed, *one, file.path));
    }
  }
  if (!agreed && foreign) return std::move(*foreign);
  if (!agreed) return tl::unexpected<Error>(*firstError);
  if (agreed->keys.size() < threshold) {
    return fail(Stage::admission, Reason::threshold_not_met,
                ref.toString() + " is signed by " + std::to_string(agreed->keys.size()) +
                    " different keys of the keyring, " + std::to_string(threshold) +
                    " are needed; add attestations by more signers");
  }
  return std::move(*agreed);
}

}  // namespace fallbackd::cache
