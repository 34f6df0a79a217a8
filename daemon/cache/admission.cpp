#include "cache/admission.hpp"

#include "base/strings.hpp"
#include "cache/attestation.hpp"
#include "cache/elf.hpp"
#include "sys/file.hpp"

#include <algorithm>
#include <array>
#include <unistd.h>
#include <utility>

namespace fallbackd::cache {

namespace {

constexpr std::size_t kMaxAttestationBytes = 1 << 20;
constexpr std::uint64_t kMaxBinaryBytes = 2ULL << 30;
constexpr std::string_view kSuffix = ".sigstore.json";

struct OpenFile {
  sys::UniqueFd fd;
  FileFacts facts;
  std::string path;
};

Result<OpenFile> openChecked(const sys::DirFd& dir, const std::string& folder, const std::string& name,
                             uid_t owner) {
  OpenFile file;
  file.path = folder + "/" + name;
  FB_TRY(file.fd, sys::openBeneath(Stage::admission, dir, name));
  FB_TRY(file.facts, checkFile(file.fd, owner, file.path));
  return file;
}

/// NAME-vVERSION.sigstore.json and, for further signers, NAME-vVERSION.ANYTHING.sigstore.json.
Result<std::vector<std::string>> attestationNames(const sys::DirFd& dir, const BinaryRef& ref) {
  FB_TRY(const auto names, sys::listDir(Stage::admission, dir));
  const std::string prefix = ref.fileName() + ".";
  std::vector<std::string> found;
  for (const auto& name : names) {
    if (name == ref.attestationName() || (name.starts_with(prefix) && name.ends_with(kSuffix)))
      found.push_back(name);
  }
  return found;
}

Result<sys::DirFd> openCache(const std::string& path, uid_t owner) {
  FB_TRY(auto dir, sys::openDir(Stage::admission, path));
  FB_CHECK(checkFolder(dir, owner, path));
  return dir;
}

/// The statement that enough keys signed. Several attestations must say the same.
Result<VerifiedStatement> verifyAll(const std::vector<OpenFile>& files, const Keyring& keyring,
                                    unsigned threshold) {
  std::optional<VerifiedStatement> agreed;
  std::optional<Error> firstError;
  for (const auto& file : files) {
    auto text = sys::readAll(Stage::admission, file.fd, kMaxAttestationBytes, file.path);
    if (!text) text.error().reason = Reason::attestation_malformed;
    auto one = text ? verifyAttestation(*text, keyring, file.path) : tl::unexpected<Error>(text.error());
    if (!one) {
      // Others may be enough; if they are not, this is why.
      if (!firstError) firstError = one.error();
      continue;
    }
    if (!agreed) {
      agreed = std::move(*one);
      continue;
    }
    if (writeStatement(agreed->statement) != writeStatement(one->statement)) {
      return fail(Stage::admission, Reason::attestation_malformed,
                  file.path + " contradicts another attestation");
    }
    for (const auto key : one->keys) {
      if (std::find(agreed->keys.begin(), agreed->keys.end(), key) == agreed->keys.end())
        agreed->keys.push_back(key);
    }
  }
  if (!agreed) return tl::unexpected<Error>(*firstError);
  if (agreed->keys.size() < threshold) {
    return fail(Stage::admission, Reason::threshold_not_met,
                agreed->statement.ref.toString() + " is signed by " + std::to_string(agreed->keys.size()) +
                    " different keys of the keyring, " + std::to_string(threshold) + " are wanted");
  }
  return std::move(*agreed);
}

/// Name, version, system: that the statement is about this very binary, for this node.
Result<> checkIdentity(const Statement& statement, const BinaryRef& ref, const std::string& path) {
  const auto mismatch = [&](Reason reason, const std::string& said, const std::string& wanted) {
    return fail(Stage::admission, reason,
                path + " is attested as " + quoted(said) + ", not as " + quoted(wanted));
  };
  if (statement.ref.name != ref.name) return mismatch(Reason::name_mismatch, statement.ref.name, ref.name);
  if (statement.ref.version != ref.version) {
    return mismatch(Reason::version_mismatch, statement.ref.version, ref.version);
  }
  if (statement.os != "linux") return mismatch(Reason::os_mismatch, statement.os, "linux");
  if (statement.arch != nodeArchitecture()) {
    return mismatch(Reason::arch_mismatch, statement.arch, std::string(nodeArchitecture()));
  }
  if (statement.minimumVersion && compareVersions(ref.version, *statement.minimumVersion) < 0) {
    return fail(
        Stage::admission, Reason::version_rollback,
        ref.toString() + " is below its own attestation's minimum version " + *statement.minimumVersion);
  }
  return {};
}

}  // namespace

Result<std::set<std::string>> Admission::revoked() const {
  std::set<std::string> digests;
  if (!settings_.revoked) return digests;
  // A list that is configured and cannot be read must not count as an empty one.
  FB_TRY(const auto text, sys::readFile(Stage::admission, *settings_.revoked, 16 << 20));
  for (const auto raw : split(text, '\n')) {
    auto line = trim(raw.substr(0, raw.find('#')));
    if (line.starts_with("sha256:")) line.remove_prefix(7);
    if (!line.empty()) digests.emplace(line.substr(0, line.find_first_of(" \t")));
  }
  return digests;
}

Result<> Admission::openFloor() {
  if (floor_ || !options_.useFloor) return {};
  FB_TRY(auto floor, VersionFloor::open(settings_.state));
  if (floor.warning()) warning_ = *floor.warning();
  floor_ = std::move(floor);
  return {};
}

Result<Evidence> Admission::look(const BinaryRef& ref) const {
  FB_TRY(const auto dir, openCache(settings_.path, options_.owner));
  Evidence evidence;
  FB_TRY(const auto binary, openChecked(dir, settings_.path, ref.fileName(), options_.owner));
  evidence.binary = binary.facts;
  FB_TRY(const auto names, attestationNames(dir, ref));
  for (const auto& name : names) {
    FB_TRY(const auto file, openChecked(dir, settings_.path, name, options_.owner));
    evidence.attestations.push_back(file.facts);
  }
  return evidence;
}

Result<bool> Admission::checkExpiry(const BinaryRef& ref, Wall::time_point expires,
                                    Wall::time_point now) const {
  if (now < expires) return false;
  const auto grace = std::chrono::duration_cast<Wall::duration>(settings_.expiryGrace);
  if (now - expires < grace) return true;
  return fail(Stage::admission, Reason::expired,
              ref.toString() + " expired at " + rfc3339(expires) + "; sign it anew with a later date");
}

Result<Admitted> Admission::admit(const BinaryRef& ref, Wall::time_point now, Evidence* evidence) {
  FB_TRY(const auto dir, openCache(settings_.path, options_.owner));
  FB_TRY(const auto binary, openChecked(dir, settings_.path, ref.fileName(), options_.owner));
  if (binary.facts.size > kMaxBinaryBytes) {
    return fail(Stage::admission, Reason::too_large, binary.path + " has more than 2 GiB");
  }
  std::array<std::byte, 4> magic{};
  if (::pread(binary.fd.get(), magic.data(), magic.size(), 0) != 4 || !hasElfMagic(magic)) {
    return fail(Stage::admission, Reason::not_elf, binary.path + ": not an ELF program (a script?)");
  }

  FB_TRY(const auto names, attestationNames(dir, ref));
  if (names.empty()) {
    return fail(Stage::admission, Reason::attestation_missing,
                "no " + settings_.path + "/" + ref.attestationName() + "; make one with fallbackctl sign");
  }
  std::vector<OpenFile> attestations;
  for (const auto& name : names) {
    FB_TRY(auto file, openChecked(dir, settings_.path, name, options_.owner));
    attestations.push_back(std::move(file));
  }
  FB_TRY(const auto keyring, Keyring::open(settings_.keys, options_.owner));
  FB_TRY(const auto verified, verifyAll(attestations, keyring, settings_.threshold));
  const auto& statement = verified.statement;
  FB_CHECK(checkIdentity(statement, ref, binary.path));
  FB_TRY(const bool inGrace, checkExpiry(ref, statement.expires, now));
  FB_TRY(const auto revokedDigests, revoked());
  if (revokedDigests.contains(statement.digest)) {
    return fail(Stage::admission, Reason::revoked,
                ref.toString() + " has the revoked digest " + statement.digest);
  }
  FB_CHECK(openFloor());
  if (floor_) FB_CHECK(floor_->check(ref));

  FB_TRY(auto copy, SealedCopy::make(binary.fd, binary.facts.size, ref.fileName(), options_.seal));
  const auto digest = toHex(copy.digest());
  if (digest != statement.digest) {
    return fail(Stage::admission, Reason::digest_mismatch,
                binary.path + " has sha256 " + digest + ", attested is " + statement.digest);
  }
  FB_TRY(const auto form, inspectElf(copy.bytes(), binary.path));
  if (settings_.requirePie && !form.pie) {
    return fail(Stage::admission, Reason::elf_not_pie,
                binary.path + " is no static PIE; link with -static-pie");
  }
  if (floor_) FB_CHECK(floor_->raise(ref));

  Admitted admitted;
  admitted.ref = ref;
  admitted.digest = digest;
  for (const auto key : verified.keys) admitted.keys.push_back(keyring.entries()[key].key.fingerprintHex());
  admitted.expires = statement.expires;
  admitted.inGrace = inGrace;
  admitted.size = binary.facts.size;
  admitted.pie = form.pie;
  admitted.executable = copy.takeFd();
  if (evidence != nullptr) {
    evidence->binary = binary.facts;
    evidence->attestations.clear();
    for (const auto& file : attestations) evidence->attestations.push_back(file.facts);
  }
  return admitted;
}

}  // namespace fallbackd::cache
