// SPDX-License-Identifier: Apache-2.0
#include "containerd_node.hpp"

#include "cri_stubs.hpp"
#include "image.hpp"
#include "run_dir.hpp"
#include "sys/file.hpp"
#include "wait.hpp"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <grpcpp/create_channel.h>
#include <grpcpp/support/channel_arguments.h>

namespace fallbackd::e2e {

namespace {

namespace fs = std::filesystem;
namespace v1 = runtime::v1;

constexpr auto kReadyDeadline = std::chrono::seconds(30);
constexpr auto kCallDeadline = std::chrono::seconds(30);
const std::string kUsualRoot = "/var/lib/containerd";
const std::string kUsualState = "/run/containerd";
const std::string kSandboxImageOfMachine = "registry.k8s.io/pause:3.9";  // as in scripts/nodes/guest/setup

/// `isIt` gets the process's folder in /proc.
template <class Predicate>
std::vector<pid_t> processesWhere(Predicate isIt) {
  std::vector<pid_t> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const pid_t pid =
        std::atoi(entry.path().filename().c_str());  // NOLINT(cert-err34-c): 0 for other entries
    if (pid > 1 && isIt(entry.path())) found.push_back(pid);
  }
  return found;
}

/// The children of all of its threads.
std::vector<pid_t> childrenOf(pid_t parent) {
  return processesWhere([parent](const fs::path& process) {
    const auto stat = sys::readFile(Stage::cli, process / "stat", 1 << 12);
    if (!stat) return false;
    std::istringstream fields(stat->substr(std::min(stat->rfind(')') + 1, stat->size())));
    std::string state;
    pid_t of = 0;
    return fields >> state >> of && of == parent;
  });
}

/// Processes with this text in their command line. For the shims, which are children of init.
std::vector<pid_t> processesNaming(const std::string& text) {
  return processesWhere([&text](const fs::path& process) {
    const auto line = sys::readFile(Stage::cli, process / "cmdline", 1 << 16);
    return line && line->find(text) != std::string::npos;
  });
}

bool accepts(const std::string& socketPath) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socketPath.copy(address.sun_path, sizeof address.sun_path - 1);
  const sys::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

}  // namespace

void setDeadline(grpc::ClientContext& context, std::chrono::milliseconds timeout) {
  context.set_deadline(std::chrono::system_clock::now() + timeout);
}

Error toError(const std::string& what, const grpc::Status& status) {
  return Error{
      .stage = Stage::containerd,
      .reason = Reason::protocol,
      .context = what + ": code " + std::to_string(status.error_code()) + ": " + status.error_message()};
}

ContainerdNode::ContainerdNode(NodeOptions options)
    : options_(std::move(options)), folder_(makeRunDir("node")) {}

void ContainerdNode::loseAllButRoot() {
  kill();
  for (const pid_t shim : processesNaming(socket())) {
    for (const pid_t child : childrenOf(shim)) ::kill(child, SIGKILL);
    ::kill(shim, SIGKILL);
  }
  const auto state = (folder_ / "state").string();
  std::ifstream table("/proc/self/mounts");
  std::vector<std::string> mounts;
  for (std::string device, place, rest; table >> device >> place && std::getline(table, rest);) {
    if (place.starts_with(state + "/")) mounts.push_back(place);
  }
  for (auto one = mounts.rbegin(); one != mounts.rend(); ++one) ::umount2(one->c_str(), MNT_DETACH);
  std::error_code ignored;
  fs::remove_all(state, ignored);
}

ContainerdNode::~ContainerdNode() {
  if (options_.ofMachine) return;
  process_.reset();
  // Each shim has the socket in its command line. Otherwise they would keep serving pods after containerd's
  // death.
  for (const pid_t pid : processesNaming(socket())) ::kill(pid, SIGKILL);
}

fs::path ContainerdNode::log() const {
  return logFile("containerd-" + folder_.filename().string());
}

NodeOptions nodeOfReport() {
  NodeOptions options;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing sets it
  const char* const folder = std::getenv("SETTLE_CONTAINERD");
  if (folder != nullptr && *folder != '\0') options.binDir = folder;
  return options;
}

Result<std::unique_ptr<ContainerdNode>> ContainerdNode::start(NodeOptions options) {
  std::unique_ptr<ContainerdNode> node(new ContainerdNode(std::move(options)));
  if (node->options_.ofMachine) return ofMachine(std::move(node));
  FB_CHECK(node->writeConfig());
  if (node->options_.rootMiB != 0) FB_CHECK(node->mountRoot());
  if (node->options_.usualPlaces) FB_CHECK(node->bindRoot());
  const fs::path archive = node->folder_ / "pause.tar";
  FB_CHECK(writeOciArchive(pauseImage(), archive));
  FB_CHECK(node->launch());
  FB_CHECK(node->importImage(archive, kSandboxImage));
  return node;
}

Result<std::unique_ptr<ContainerdNode>> ContainerdNode::ofMachine(std::unique_ptr<ContainerdNode> node) {
  FB_CHECK(node->connect());
  auto pause = pauseImage();
  pause.reference = kSandboxImageOfMachine;
  const fs::path archive = node->folder_ / "pause.tar";
  FB_CHECK(writeOciArchive(pause, archive));
  FB_CHECK(node->importImage(archive, pause.reference));
  return node;
}

Result<> ContainerdNode::speak(const std::string& scheme, const std::string& host, const fs::path& ca) const {
  const auto folder = registryConfigDir() / host;
  FB_CHECK(sys::makeDirs(Stage::cli, folder, 0755));
  const std::string url = "\"" + scheme + "://" + host + "\"";
  std::ofstream file(folder / "hosts.toml");
  file << "server = " << url << "\n[host." << url << "]\n";
  if (!ca.empty()) file << "  ca = \"" << ca.string() << "\"\n";
  file.close();
  if (!file) return fail(Stage::cli, Reason::system, "write below " + folder.string());
  return {};
}

Result<> ContainerdNode::writeConfig() const {
  fs::create_directories(folder_ / "cni");
  fs::create_directories(registryConfigDir());
  std::ofstream config(folder_ / "config.toml");
  const auto root = options_.usualPlaces ? kUsualRoot : (folder_ / "root").string();
  const auto state = options_.usualPlaces ? kUsualState : (folder_ / "state").string();
  config << "version = 2\n"
         << "root = '" << root << "'\nstate = '" << state << "'\n"
         << (options_.metricsPort == 0
                 ? std::string()
                 : "[metrics]\n  address = '127.0.0.1:" + std::to_string(options_.metricsPort) + "'\n")
         << (options_.verifiers.empty()
                 ? std::string()
                 : "[plugins.'io.containerd.image-verifier.v1.bindir']\n  bin_dir = '" +
                       options_.verifiers.string() + "'\n  max_verifiers = 1\n")
         // Storage that the machine may have but a test must not probe.
         << "disabled_plugins = ['io.containerd.snapshotter.v1.btrfs', 'io.containerd.snapshotter.v1.zfs', "
            "'io.containerd.snapshotter.v1.devmapper', 'io.containerd.snapshotter.v1.aufs']\n"
         << "[grpc]\n  address = '" << socket() << "'\n"
         << "[debug]\n  level = '" << options_.logLevel
         << "'\n"
         // Otherwise containerd would create /opt/containerd.
         << "[plugins.'io.containerd.internal.v1.opt']\n  path = '" << (folder_ / "opt").string() << "'\n"
         << "[plugins.'io.containerd.grpc.v1.cri']\n"
         << "  sandbox_image = '" << kSandboxImage
         << "'\n"
         // Without CAP_SYS_RESOURCE runc cannot lower the score of the pause process, and no sandbox starts.
         << "  restrict_oom_score_adj = true\n"
         // Otherwise containerd would load its profile into the machine's kernel.
         << "  disable_apparmor = true\n"
         << "  max_concurrent_downloads = 3\n"
         << "[plugins.'io.containerd.grpc.v1.cri'.containerd]\n  snapshotter = 'overlayfs'\n"
         << (options_.discardUnpackedLayers ? "  discard_unpacked_layers = true\n" : "")
         << "[plugins.'io.containerd.grpc.v1.cri'.cni]\n  bin_dir = '/usr/lib/cni'\n  conf_dir = '"
         << (folder_ / "cni").string() << "'\n"
         << "[plugins.'io.containerd.grpc.v1.cri'.registry]\n  config_path = '"
         << registryConfigDir().string() << "'\n";
  config.close();
  // No masquerading, so no iptables: nothing outside the run's network namespace is reachable anyway.
  std::ofstream cni(folder_ / "cni" / "10-bridge.conflist");
  cni << R"({"cniVersion": "0.4.0", "name": "e2e", "plugins": [{"type": "bridge", "bridge": "e2e0",
  "isGateway": true, "ipMasq": false, "hairpinMode": true,
  "ipam": {"type": "host-local", "dataDir": ")"
      << (folder_ / "ipam").string()
      << R"(", "ranges": [[{"subnet": "10.85.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]})";
  cni.close();
  if (!config || !cni) return fail(Stage::cli, Reason::system, "write below " + folder_.string());
  return {};
}

std::map<std::string, std::string> ContainerdNode::environment() const {
  const char* const inherited = std::getenv("PATH");  // NOLINT(concurrency-mt-unsafe): one thread
  std::string path = inherited != nullptr ? inherited : "";
  path += ":/usr/local/sbin:/usr/sbin:/sbin";  // runc and ip, if the user's PATH lacks them
  if (options_.binDir) path = options_.binDir->string() + ":" + path;
  auto all = options_.environment;
  all["PATH"] = path;
  return all;
}

/// The mount disappears with the run's mount namespace.
Result<> ContainerdNode::mountRoot() const {
  const auto file = (folder_ / "root.ext4").string();
  const auto root = (folder_ / "root").string();
  FB_CHECK(sys::makeDirs(Stage::cli, root, 0711));
  FB_CHECK(runOk(
      {.argv = {"truncate", "-s", std::to_string(options_.rootMiB) + "M", file}, .env = {}, .output = {}}));
  FB_CHECK(runOk({.argv = {"mkfs.ext4", "-q", "-m", "0", file}, .env = environment(), .output = {}}));
  FB_CHECK(runOk({.argv = {"mount", "-o", "loop", file, root}, .env = {}, .output = {}}));
  return {};
}

/// Not on /var/lib itself, which is an overlay here: an overlay cannot be created on an overlay.
Result<> ContainerdNode::bindRoot() const {
  const auto root = (folder_ / "root").string();
  FB_CHECK(sys::makeDirs(Stage::cli, root, 0711));
  FB_CHECK(sys::makeDirs(Stage::cli, kUsualRoot, 0711));
  FB_CHECK(sys::makeDirs(Stage::cli, kUsualState, 0711));
  FB_CHECK(runOk({.argv = {"mount", "--bind", root, kUsualRoot}, .env = {}, .output = {}}));
  return {};
}

Result<> ContainerdNode::launch() {
  FB_TRY(process_, ChildProcess::start({.argv = {"containerd", "--config", folder_ / "config.toml"},
                                        .env = environment(),
                                        .output = log()}));
  return connect();
}

bool ContainerdNode::ended() {
  return process_ && !process_->running();
}

Result<> ContainerdNode::connect() {
  // Connects gRPC only now: an attempt that is too early costs a back-off of seconds. Each start has a new
  // channel, for the same reason.
  const bool listens = waitUntil(kReadyDeadline, [this] { return accepts(socket()) || ended(); });
  if (!listens || ended()) {
    return fail(Stage::containerd, Reason::not_ready,
                "containerd did not start (see " + log().string() + ")");
  }
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  auto stubs = std::make_unique<CriStubs>();
  stubs->channel =
      grpc::CreateCustomChannel("unix:" + socket(), grpc::InsecureChannelCredentials(), arguments);
  stubs->runtime = v1::RuntimeService::NewStub(stubs->channel);
  stubs->images = v1::ImageService::NewStub(stubs->channel);
  cri_ = stubs.get();
  all_.push_back(std::move(stubs));
  return waitReady();
}

Result<> ContainerdNode::waitReady() {
  grpc::Status status;
  const bool settled = waitUntil(kReadyDeadline, [&] {
    grpc::ClientContext context;
    setDeadline(context, kReadyDeadline);
    v1::VersionResponse response;
    status = cri().runtime->Version(&context, v1::VersionRequest(), &response);
    version_ = response.runtime_version();
    return status.ok() || ended();
  });
  if (settled && status.ok()) return {};
  return tl::unexpected<Error>(toError("containerd did not start (see " + log().string() + ")", status));
}

void ContainerdNode::kill() {
  if (!process_) return;
  process_->signal(SIGKILL);
  (void)process_->wait(std::chrono::seconds(10));
  process_.reset();
}

Result<> ContainerdNode::restart() {
  return options_.ofMachine ? connect() : launch();
}

Result<std::string> ContainerdNode::ctr(const std::vector<std::string>& args) const {
  Command command{
      .argv = {"ctr", "--address", socket(), "--namespace", "k8s.io"}, .env = environment(), .output = {}};
  command.argv.insert(command.argv.end(), args.begin(), args.end());
  return runOk(command);
}

Result<> ContainerdNode::importImage(const fs::path& archive, const std::string& reference) const {
  FB_CHECK(ctr({"images", "import", archive}));
  grpc::Status status;
  // The CRI learns of the image through its own event.
  const bool known = waitUntil(kCallDeadline, [&] {
    grpc::ClientContext context;
    setDeadline(context, kCallDeadline);
    v1::ImageStatusRequest request;
    request.mutable_image()->set_image(reference);
    v1::ImageStatusResponse response;
    status = cri().images->ImageStatus(&context, request, &response);
    return !status.ok() || response.has_image();
  });
  if (known && status.ok()) return {};
  return tl::unexpected<Error>(toError("import " + reference, status));
}

}  // namespace fallbackd::e2e
