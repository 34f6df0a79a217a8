#include "cache/admission.hpp"

#include "base/strings.hpp"
#include "cache/elf.hpp"
#include "cache/signers.hpp"
#include "sys/file.hpp"

#include <algorithm>
#include <array>
#include <fcntl.h>
#include <unistd.h>
#include <utility>

namespace fallbackd::cache {

namespace {

constexpr std::uint64_t kMaxBinaryBytes = 2ULL << 30;
Result<sys::DirFd> openCache(const std::string& path, uid_t owner) {
  FB_TRY(auto dir, sys::openDir(Stage::admission, path));
  FB_CHECK(checkFolder(dir, owner, path));
  return dir;
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
  if (floor_) return {};
  const bool keep = options_.floor == FloorUse::raise;
  FB_TRY(auto floor,
         VersionFloor::open(settings_.state, keep ? VersionFloor::Mode::keep : VersionFloor::Mode::look));
  if (floor.warning()) warning_ = *floor.warning();
  floor_ = std::move(floor);
  return {};
}

Result<std::vector<FileFacts>> Admission::lookAtTrust() const {
  FB_TRY(auto facts, Keyring::look(settings_.keys, options_.owner));
  if (settings_.revoked) {
    const sys::UniqueFd list(::open(settings_.revoked->c_str(), O_PATH | O_CLOEXEC));
    if (!list) return failErrno(Stage::admission, "open " + *settings_.revoked);
    FB_TRY(const auto listFacts, factsOf(list, *settings_.revoked));
    facts.push_back(listFacts);
  }
  return facts;
}

bool Admission::withdrawn(const Admitted& admitted) const {
  const auto digests = revoked();
  if (digests && digests->contains(admitted.digest)) return true;
  const auto keyring = Keyring::read(settings_.keys, options_.owner);
  if (!keyring) return false;
  const auto left =
      std::count_if(keyring->entries().begin(), keyring->entries().end(), [&](const Keyring::Entry& entry) {
        return std::find(admitted.keys.begin(), admitted.keys.end(), entry.key.fingerprintHex()) !=
               admitted.keys.end();
      });
  return static_cast<std::size_t>(left) < settings_.threshold;
}

Result<Evidence> Admission::look(const BinaryRef& ref) const {
  FB_TRY(const auto dir, openCache(settings_.path, options_.owner));
  Evidence evidence;
  FB_TRY(const auto binary, openChecked(dir, settings_.path, ref.fileName(), options_.owner));
  evidence.binary = binary.facts;
  FB_TRY(const auto attestations, openAttestations(dir, settings_.path, ref, options_.owner));
  for (const auto& file : attestations) evidence.attestations.push_back(file.facts);
  FB_TRY(evidence.trust, lookAtTrust());
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

  FB_TRY(const auto attestations, openAttestations(dir, settings_.path, ref, options_.owner));
  if (attestations.empty()) {
    return fail(Stage::admission, Reason::attestation_missing,
                "no " + settings_.path + "/" + ref.attestationName() + "; make one with fallbackctl sign");
  }
  // Looked at before it is read: a change in between is seen the next time.
  const auto trust = evidence != nullptr ? lookAtTrust() : std::vector<FileFacts>();
  FB_TRY(const auto keyring, Keyring::open(settings_.keys, options_.owner));
  FB_TRY(const auto verified, verifySigners(attestations, ref, keyring, settings_.threshold));
  const auto& statement = verified.statement;
  FB_CHECK(checkIdentity(statement, ref, binary.path));
  FB_TRY(const bool inGrace, checkExpiry(ref, statement.expires, now));
  FB_TRY(const auto revokedDigests, revoked());
  if (revokedDigests.contains(statement.digest)) {
    return fail(Stage::admission, Reason::revoked,
                ref.toString() + " has the revoked digest " + statement.digest);
  }
  FB_CHECK(openFloor());
  FB_CHECK(floor_->check(ref));

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
  if (options_.floor == FloorUse::raise) FB_CHECK(floor_->raise(ref));

  Admitted admitted;
  admitted.ref = ref;
  admitted.digest = digest;
  for (const auto key : verified.keys) admitted.keys.push_back(keyring.entries()[key].key.fingerprintHex());
  admitted.expires = statement.expires;
  admitted.inGrace = inGrace;
  admitted.size = binary.facts.size;
  admitted.pie = form.pie;
  admitted.sealMethod = toString(copy.method());
  admitted.executable = copy.takeFd();
  if (evidence != nullptr) {
    evidence->binary = binary.facts;
    evidence->attestations.clear();
    for (const auto& file : attestations) evidence->attestations.push_back(file.facts);
    evidence->trust = trust.value_or(std::vector<FileFacts>());
  }
  return admitted;
}

}  // namespace fallbackd::cache
