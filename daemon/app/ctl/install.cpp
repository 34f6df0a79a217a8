// fallbackctl install: puts a binary and its attestation into the cache, if they would be admitted there.
#include "app/ctl/cache_options.hpp"
#include "app/ctl/commands.hpp"
#include "app/ctl/output.hpp"
#include "base/strings.hpp"
#include "cache/admission.hpp"
#include "cache/attestation.hpp"
#include "cache/json.hpp"
#include "sys/file.hpp"

#include <cstdio>
#include <fcntl.h>
#include <memory>
#include <stdlib.h>
#include <sys/stat.h>

namespace fallbackd::ctl {

namespace {

struct InstallOptions {
  CacheOptions cache;
  std::string file;
  std::string attestation;
};

constexpr std::size_t kMaxBinary = 2ULL << 30;
constexpr std::size_t kMaxAttestation = 1 << 20;

/// A folder beside the final place, on the same file system, that goes away with this object.
class Staging {
 public:
  static Result<Staging> make(const std::string& cache) {
    std::string name = cache + "/.install-XXXXXX";
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

Result<> install(const InstallOptions& options, const config::CacheSettings& settings) {
  FB_TRY(const auto attestation, sys::readFile(Stage::cli, options.attestation, kMaxAttestation));
  // The names come from the statement; whether it may be believed, the admission below decides.
  FB_TRY(const auto envelope, cache::parseEnvelope(attestation, options.attestation));
  FB_TRY(const auto statement, cache::parseStatement(envelope.payload, options.attestation));
  FB_TRY(const auto binary, sys::readFile(Stage::cli, options.file, kMaxBinary));

  FB_CHECK(sys::makeDirs(Stage::cli, settings.path, 0755));
  FB_TRY(const auto staging, Staging::make(settings.path));
  FB_TRY(const auto stagingDir, sys::openDir(Stage::cli, staging.path()));
  FB_CHECK(sys::replaceFile(Stage::cli, stagingDir, statement.ref.fileName(), binary, 0755));
  FB_CHECK(sys::replaceFile(Stage::cli, stagingDir, statement.ref.attestationName(), attestation, 0644));

  auto staged = settings;
  staged.path = staging.path();
  cache::AdmissionOptions admissionOptions;
  admissionOptions.useFloor = false;  // the node's daemon keeps the floor
  cache::Admission admission(staged, admissionOptions);
  FB_TRY(const auto admitted, admission.admit(statement.ref, Wall::now()));

  FB_TRY(const auto cacheDir, sys::openDir(Stage::cli, settings.path));
  // The attestation first: a power cut in between leaves one without its binary, which admits nothing, or,
  // over an older copy of this version, a pair that does not fit and is refused.
  FB_CHECK(rename(staging, cacheDir, statement.ref.attestationName()));
  FB_CHECK(rename(staging, cacheDir, statement.ref.fileName()));
  if (::fsync(cacheDir.get()) != 0) return failErrno(Stage::cli, "fsync " + settings.path);
  std::printf("%s installed in %s, sha256 %s\n", statement.ref.toString().c_str(), settings.path.c_str(),
              admitted.digest.c_str());
  return {};
}

}  // namespace

void addInstall(CLI::App& app, Run& run) {
  auto options = std::make_shared<InstallOptions>();
  auto* command = app.add_subcommand("install", "verify a binary and put it into the cache");
  options->cache.addTo(*command);
  command->add_option("--attestation", options->attestation, "its attestation")->required();
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
