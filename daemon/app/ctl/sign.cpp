// SPDX-License-Identifier: Apache-2.0
// fallbackctl sign
#include "app/ctl/commands.hpp"
#include "app/ctl/new_file.hpp"
#include "app/ctl/output.hpp"
#include "app/ctl/private_key.hpp"
#include "base/strings.hpp"
#include "cache/attestation.hpp"
#include "cache/elf.hpp"
#include "cache/go_build.hpp"
#include "cache/image_config.hpp"
#include "cache/sealed.hpp"
#include "config/names.hpp"
#include "sys/file.hpp"

#include <cstddef>
#include <cstdio>
#include <fcntl.h>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <vector>

#include <CLI/CLI.hpp>

namespace fallbackd::ctl {

namespace {

struct SignOptions {
  PrivateKeyOptions key;
  std::string name;
  std::string version;
  std::string expires;
  std::optional<std::string> arch;
  std::optional<std::string> minimumVersion;
  std::vector<std::string> namespaces;
  std::optional<std::string> imageConfig;
  std::optional<std::string> out;
  bool skipFormCheck = false;
  bool force = false;
  std::string file;
};

/// A date, or a duration from now.
Result<Wall::time_point> expiryOf(const std::string& text) {
  if (const auto date = parseDate(text)) {
    if (*date > Clock::system().wall()) return *date;
    return fail(Stage::cli, Reason::usage, "--expires " + fallbackd::quoted(text) + " is in the past");
  }
  if (const auto duration = parseDuration(text)) {
    return later(Clock::system().wall(), *duration);
  }
  return fail(Stage::cli, Reason::usage,
              "--expires " + fallbackd::quoted(text) +
                  " is neither a date (2027-01-31; 2000 to 9999) nor a duration (90d)");
}

/// The configuration of the image for the same architecture; "-" is standard input, which skopeo may write
/// to.
Result<ImageConfig> imageConfigOf(const std::string& file, const std::string& arch) {
  constexpr std::size_t kMaxDocument = 4 << 20;
  FB_TRY(const auto text, sys::readFile(Stage::cli, file == "-" ? "/dev/stdin" : file, kMaxDocument));
  FB_TRY(auto document, cache::parseImageDocument(text, file == "-" ? "standard input" : file));
  if (document.os != "linux" || document.architecture != arch) {
    return fail(Stage::cli, Reason::usage,
                "--image-config " + fallbackd::quoted(file) + " is of an image for " +
                    fallbackd::quoted(document.os + "/" + document.architecture) +
                    ", the binary is for linux/" + arch + "; skopeo --override-arch " + arch +
                    " inspect --config prints the right one");
  }
  return std::move(document.config);
}

/// The architecture in the words of attestations: the file's own. A file that is not an ELF program is signed
/// only with --skip-form-check, for the requested architecture.
Result<std::string> architectureFor(const SignOptions& options, std::span<const std::byte> bytes) {
  if (options.skipFormCheck && !cache::hasElfMagic(bytes)) {
    return options.arch.value_or(std::string(cache::nodeArchitecture()));
  }
  FB_TRY(const auto built, cache::elfArchitecture(bytes, options.file));
  if (!options.arch || *options.arch == built) return std::string(built);
  return fail(Stage::cli, Reason::arch_mismatch,
              options.file + " is built for " + std::string(built) + ", not for " + *options.arch);
}

/// Checks what a node would refuse later: the form, and a different version than Go's linker recorded. A
/// module's release is the only version that a program reliably records about itself.
Result<> checkForm(const SignOptions& options, std::span<const std::byte> bytes, std::string_view arch) {
  if (options.skipFormCheck) return {};
  FB_TRY(const auto form, cache::inspectElf(bytes, options.file, arch));
  if (!form.go || !cache::contradicts(form.go->moduleVersion, options.version)) return {};
  return fail(Stage::cli, Reason::version_mismatch,
              options.file + " was built as " + form.go->module + " " + form.go->moduleVersion +
                  ", not as version " + options.version);
}

/// The statement that the command line describes.
Result<cache::Statement> statementOf(const SignOptions& options) {
  cache::Statement statement;
  FB_TRY(statement.ref, parseBinaryRef(options.name + "@" + options.version));
  FB_TRY(statement.expires, expiryOf(options.expires));
  statement.os = "linux";
  statement.minimumVersion = options.minimumVersion;
  if (options.minimumVersion) {
    const auto minimum = parseBinaryRef(options.name + "@" + *options.minimumVersion);
    if (!minimum) return tl::unexpected<Error>(minimum.error());
  }
  for (const auto& name : options.namespaces) {
    if (!config::isDnsLabel(name)) {
      return fail(Stage::cli, Reason::usage,
                  "--namespace " + fallbackd::quoted(name) + " is not the name of a namespace");
    }
  }
  if (!options.namespaces.empty()) statement.namespaces = options.namespaces;
  return statement;
}

Result<> keepBundle(const SignOptions& options, const std::string& out, const std::string& bundle) {
  constexpr mode_t kReadable = 0644;
  if (!options.force) {
    auto created = writeNewFile(out, bundle, kReadable);
    if (!created && created.error().reason == Reason::already_exists) {
      created.error().context = out + " exists; --force replaces it, --out writes another file";
    }
    return created;
  }
  const auto slash = out.rfind('/');
  const auto name = slash == std::string::npos ? out : out.substr(slash + 1);
  FB_TRY(const auto dir,
         sys::openDir(Stage::cli, slash == std::string::npos ? "." : out.substr(0, slash + 1)));
  return sys::replaceFile(Stage::cli, dir, name, bundle, kReadable);
}

Result<> writeAttestation(const SignOptions& options) {
  FB_TRY(auto statement, statementOf(options));
  const sys::UniqueFd source(::open(options.file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat info {};
  if (!source || ::fstat(source.get(), &info) != 0) return failErrno(Stage::cli, "open " + options.file);
  if (!S_ISREG(info.st_mode))
    return fail(Stage::cli, Reason::invalid, options.file + " is not a regular file");
  FB_TRY(const auto copy,
         cache::SealedCopy::make(source, static_cast<std::uint64_t>(info.st_size), "signing"));
  FB_TRY(statement.arch, architectureFor(options, copy.bytes()));
  FB_CHECK(checkForm(options, copy.bytes(), statement.arch));
  if (options.imageConfig) {
    FB_TRY(statement.image, imageConfigOf(*options.imageConfig, statement.arch));
  }
  statement.digest = toHex(copy.digest());

  FB_TRY(const auto key, readPrivateKey(options.key));
  FB_TRY(const auto bundle, cache::signStatement(statement, key));
  const std::string out = options.out.value_or(options.file + ".sigstore.json");
  FB_CHECK(keepBundle(options, out, bundle));
  std::printf("%s  attests %s for %s, sha256 %s, until %s\n", out.c_str(), statement.ref.toString().c_str(),
              statement.arch.c_str(), statement.digest.c_str(), rfc3339(statement.expires).c_str());
  return {};
}

}  // namespace

void addSign(CLI::App& app, Run& run) {
  auto options = std::make_shared<SignOptions>();
  auto* command = app.add_subcommand("sign", "write an attestation (Sigstore bundle) for a binary");
  options->key.addTo(*command);
  command->add_option("--name", options->name, "name of the binary, for example checkout")->required();
  command->add_option("--version", options->version, "its version without a v, for example 1.8.3")
      ->required();
  command->add_option("--expires", options->expires, "2027-01-31, or a duration from now (90d)")->required();
  command->add_option("--arch", options->arch, "amd64 or arm64; must be the file's (default: the file's)")
      ->check(CLI::IsMember({"amd64", "arm64"}));
  command->add_option("--minimum-version", options->minimumVersion,
                      "once a node has seen this, older versions run only if its configuration names them");
  command
      ->add_option(
          "--namespace", options->namespaces,
          "only pods of this namespace may choose the binary by annotation; may be repeated; without "
          "it, the node's podAnnotations decide")
      ->allow_extra_args(false);
  command->add_option(
      "--image-config", options->imageConfig,
      "record USER, ENV, ENTRYPOINT, CMD and WORKDIR of the image that the binary stands in for: "
      "a file as skopeo inspect --config prints it, or - for standard input");
  command->add_option("--out", options->out, "where to write (default: FILE.sigstore.json)");
  command->add_flag("--force", options->force, "replace an existing attestation");
  command->add_flag("--skip-form-check", options->skipFormCheck,
                    "sign even if admission would refuse the binary's form or version");
  command->add_option("FILE", options->file, "the binary")->required();
  command->callback([options, &run] { run = [options] { return exitCodeOf(writeAttestation(*options)); }; });
}

}  // namespace fallbackd::ctl
