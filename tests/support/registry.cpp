// SPDX-License-Identifier: Apache-2.0
#include "registry.hpp"

#include "http.hpp"
#include "image.hpp"
#include "run_dir.hpp"
#include "wait.hpp"

#include <crypt.h>
#include <fstream>

namespace fallbackd::e2e {

namespace {

/// A line of an htpasswd file; docker-registry accepts only bcrypt. With the lowest cost, because it is only
/// for tests.
std::string htpasswdLine(const std::string& user, const std::string& password) {
  crypt_data data{};
  const char* const hash = ::crypt_r(password.c_str(), "$2b$04$fallbackde2etestssaltu", &data);
  return user + ":" + (hash != nullptr ? hash : "*") + "\n";
}

}  // namespace

Result<Registry> Registry::make(RegistryOptions options) {
  Registry registry;
  registry.options_ = std::move(options);
  registry.folder_ = makeRunDir("registry");
  if (registry.options_.port == 0) {
    FB_TRY(auto free, DeadPort::make());
    registry.options_.port = free.release();
  }
  FB_CHECK(registry.writeConfig());
  return registry;
}

Result<> Registry::writeConfig() {
  std::ofstream config(folder_ / "config.yml");
  config << "version: 0.1\n"
            "log: {level: info, accesslog: {disabled: false}}\n"
            "storage:\n"
            "  filesystem: {rootdirectory: "
         << (folder_ / "data").string()
         << "}\n"
            "  delete: {enabled: true}\n"
            "http: {addr: \""
         << address() << "\"}\n";
  if (options_.user) {
    const auto users = folder_ / "htpasswd";
    std::ofstream(users) << htpasswdLine(*options_.user, options_.password);
    config << "auth: {htpasswd: {realm: e2e, path: " << users.string() << "}}\n";
  }
  config.close();
  if (!config) return fail(Stage::cli, Reason::system, "write " + folder_.string() + "/config.yml");
  return {};
}

Result<> Registry::start() {
  const auto log = logFile(folder_.filename());
  FB_TRY(process_, ChildProcess::start({.argv = {"docker-registry", "serve", folder_ / "config.yml"},
                                        .env = {{"OTEL_TRACES_EXPORTER", "none"}},
                                        .output = log}));
  const bool answers = waitUntil(std::chrono::seconds(20), [this] {
    const auto answer = httpGet("127.0.0.1", options_.port, "/v2/");
    return answer || !process_->running();
  });
  if (answers && process_->running()) return {};
  return fail(Stage::cli, Reason::not_ready,
              "docker-registry at " + address() + " (see " + log.string() + ")");
}

Result<> Registry::stop() {
  if (!process_) return {};
  FB_CHECK(process_->stop(std::chrono::seconds(2)));
  process_.reset();
  return {};
}

Result<std::string> Registry::pushImage(const std::string& nameAndTag, const std::filesystem::path& program,
                                        const std::vector<std::string>& args) {
  const std::string name = program.filename();
  Image image{.reference = reference(nameAndTag),
              .files = {{"bin/" + name, program}},
              .entrypoint = {"/bin/" + name},
              .env = {}};
  image.entrypoint.insert(image.entrypoint.end(), args.begin(), args.end());
  const auto archive = folder_ / "push.tar";
  FB_CHECK(writeOciArchive(image, archive));
  // --insecure-policy: needs no signature policy file. TMPDIR: writes nothing outside the run's folder.
  Command skopeo{.argv = {"skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"},
                 .env = {{"TMPDIR", folder_}},
                 .output = {}};
  if (options_.user) skopeo.argv.push_back("--dest-creds=" + *options_.user + ":" + options_.password);
  skopeo.argv.push_back("oci-archive:" + archive.string());
  skopeo.argv.push_back("docker://" + image.reference);
  FB_CHECK(runOk(skopeo));
  return image.reference;
}

}  // namespace fallbackd::e2e
