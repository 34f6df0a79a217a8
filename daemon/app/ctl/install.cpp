// fallbackctl install: puts a binary and its attestation into the cache, if they would be admitted there.
#include "app/ctl/cache_options.hpp"
#include "app/ctl/commands.hpp"
#include "app/ctl/output.hpp"
#include "cache/admission.hpp"
#include "cache/attestation.hpp"
#include "cache/signers.hpp"
#include "sys/file.hpp"

#include <algorithm>
#include <cstdio>
#include <fcntl.h>
#include <memory>
#include <stdlib.h>
#include <string>
#include <sys/file.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace fallbackd::ctl {

namespace {

struct InstallOptions {
  CacheOptions cache;
  std::string file;
  std::vector<std::string> attestations;
};

const std::string kStaging = ".install-";
constexpr std::size_t kMaxBinary = 2ULL << 30;
constexpr std::size_t kMaxAttestation = 1 << 20;

/// A folder beside the final place, on the same file system, that goes away with this object.
class Staging {
 public:
  static Result<Staging> make(const std::string& cache) {
    std::string name = cache + "/" + kStaging + "XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) return failErrno(Stage::cli, "make a folder in " + cache);
    return Staging(std::move(name));
  }
  Staging(Staging&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  Staging& operator=(Staging&&) = delete;
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  ~Staging() {
    if (!path_.empty()) static_cast<void>(sys::removeTree(Stage::cli, path_));
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  explicit Staging(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

Result<> rename(const Staging& staging, const sys::DirFd& cache, const std::string& name) {
  const std::string from = staging.path() + "/" + name;
  if (::renameat(AT_FDCWD, from.c_str(), cache.get(), name.c_str()) != 0) {
    return failErrno(Stage::cli, "rename " + name + " into the cache");
  }
  return {};
}

/// The cache, for us alone until the descriptor is closed, and without what an interrupted install left.
Result<sys::DirFd> openCacheToWrite(const std::string& path) {
  FB_CHECK(sys::makeDirs(Stage::cli, path, 0755));
  FB_TRY(auto cache, sys::openDir(Stage::cli, path));
  FB_CHECK(cache::checkFolder(cache, 0, path));
  if (::flock(cache.get(), LOCK_EX) != 0) return failErrno(Stage::cli, "lock " + path);
  FB_TRY(const auto names, sys::listDir(Stage::cli, cache));
  for (const auto& name : names) {
    if (name.starts_with(kStaging)) FB_CHECK(sys::removeTree(Stage::cli, path + "/" + name));
  }
  return cache;
}

/// Attestations of other bytes under this name would contradict the new ones.
Result<> removeOthers(const sys::DirFd& cache, const std::string& path, const BinaryRef& ref,
                      const std::vector<std::string>& keep) {
  FB_TRY(const auto files, cache::openAttestations(cache, path, ref, 0));
  for (const auto& file : files) {
    if (std::find(keep.begin(), keep.end(), file.name) != keep.end()) continue;
    if (::unlinkat(cache.get(), file.name.c_str(), 0) != 0)
      return failErrno(Stage::cli, "remove " + file.path);
  }
  return {};
}

/// Writes all attestations into the staging folder; the names that they have there.
Result<std::vector<std::string>> stage(const sys::DirFd& staging, const BinaryRef& ref,
                                       const std::vector<std::string>& attestations) {
  std::vector<std::string> names;
  for (const auto& text : attestations) {
    const auto number = std::to_string(names.size() + 1);
    names.push_back(names.empty() ? ref.attestationName()
                                  : ref.fileName() + ".signer-" + number + ".sigstore.json");
    FB_CHECK(sys::replaceFile(Stage::cli, staging, names.back(), text, 0644));
  }
  return names;
}

Result<> install(const InstallOptions& options, const config::CacheSettings& settings) {
  std::vector<std::string> attestations;
  for (const auto& file : options.attestations) {
    FB_TRY(auto text, sys::readFile(Stage::cli, file, kMaxAttestation));
    attestations.push_back(std::move(text));
  }
  // The names come from the statement; whether it may be believed, the admission below decides.
  FB_TRY(const auto envelope, cache::parseEnvelope(attestations.front(), options.attestations.front()));
  FB_TRY(const auto statement, cache::parseStatement(envelope.payload, options.attestations.front()));
  const auto& ref = statement.ref;
  FB_TRY(const auto binary, sys::readFile(Stage::cli, options.file, kMaxBinary));

  FB_TRY(const auto cacheDir, openCacheToWrite(settings.path));
  FB_TRY(const auto staging, Staging::make(settings.path));
  FB_TRY(const auto stagingDir, sys::openDir(Stage::cli, staging.path()));
  FB_CHECK(sys::replaceFile(Stage::cli, stagingDir, ref.fileName(), binary, 0755));
  FB_TRY(const auto names, stage(stagingDir, ref, attestations));

  auto staged = settings;
  staged.path = staging.path();
  cache::AdmissionOptions admissionOptions;
  admissionOptions.floor = cache::FloorUse::check;  // the node's daemon raises it
  cache::Admission admission(staged, admissionOptions);
  FB_TRY(const auto admitted, admission.admit(ref, Wall::now()));

  // The binary last: a power cut before leaves attestations without their binary, which admit nothing, or,
  // over an older copy of this version, ones that do not fit it, and it is refused.
  for (const auto& name : names) FB_CHECK(rename(staging, cacheDir, name));
  FB_CHECK(removeOthers(cacheDir, settings.path, ref, names));
  FB_CHECK(rename(staging, cacheDir, ref.fileName()));
  if (::fsync(cacheDir.get()) != 0) return failErrno(Stage::cli, "fsync " + settings.path);
  std::printf("%s installed in %s, sha256 %s\n", ref.toString().c_str(), settings.path.c_str(),
              admitted.digest.c_str());
  return {};
}

}  // namespace

void addInstall(CLI::App& app, Run& run) {
  auto options = std::make_shared<InstallOptions>();
  auto* command = app.add_subcommand("install", "verify a binary and put it into the cache");
  options->cache.addTo(*command);
  command
      ->add_option("--attestation", options->attestations,
                   "its attestation; once for each signer where several must have signed")
      ->required()
      ->allow_extra_args(false);
  command->add_option("FILE", options->file, "the binary")->required();
  command->callback([options, &run] {
    run = [options] {
      const auto settings = options->cache.settings();
      if (!settings) return kUsage;
      const auto done = install(*options, *settings);
      return done ? kOk : complain(done.error());
    };
  });
}

}  // namespace fallbackd::ctl
