// SPDX-License-Identifier: Apache-2.0
#include "kubelet/model.hpp"

#include "kubelet/garbage.hpp"
#include "run_dir.hpp"

#include <set>

namespace fallbackd::e2e::model {

namespace {

Options withFolder(Options options) {
  if (options.folder.empty()) options.folder = makeRunDir("kubelet-model");
  std::filesystem::create_directories(options.folder);
  return options;
}

}  // namespace

KubeletModel::KubeletModel(Kubelet& kubelet, Options options)
    : kubelet_(kubelet),
      options_(withFolder(std::move(options))),
      runtime_(kubelet.node()),
      records_(options_.folder),
      logs_(runtime_, log_, options_.folder / "containers"),
      puller_(kubelet, runtime_, log_, options_),
      relist_(runtime_, log_, options_.times.relist,
              [this](const SeenContainer& container) { killStranger(container); }) {}

KubeletModel::~KubeletModel() {
  std::map<std::string, std::unique_ptr<PodWorker>> workers;
  {
    const std::lock_guard lock(mutex_);
    workers.swap(workers_);
  }
}

PodDefinition KubeletModel::add(PodDefinition pod) {
  if (pod.pod.uid.empty()) pod.pod.uid = makeUid();
  const std::lock_guard lock(mutex_);
  uids_[pod.pod.name] = pod.pod.uid;
  const Parts parts{kubelet_, options_, runtime_, log_, board_, relist_, puller_, records_, logs_};
  workers_[pod.pod.name] = std::make_unique<PodWorker>(parts, pod);
  return pod;
}

PodWorker* KubeletModel::workerOf(const std::string& name) {
  const auto found = workers_.find(name);
  return found == workers_.end() ? nullptr : found->second.get();
}

void KubeletModel::remove(const std::string& name, std::optional<std::chrono::seconds> grace) {
  const std::lock_guard lock(mutex_);
  if (auto* const worker = workerOf(name)) worker->terminate(grace);
}

void KubeletModel::wake(const std::string& name) {
  const std::lock_guard lock(mutex_);
  if (auto* const worker = workerOf(name)) worker->wake();
}

std::string KubeletModel::uidOf(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = uids_.find(name);
  return found == uids_.end() ? std::string() : found->second;
}

std::optional<PodStatus> KubeletModel::status(const std::string& name) const {
  return board_.find(uidOf(name));
}

bool KubeletModel::waitFor(const std::string& name, const Board::Holds& holds,
                           std::chrono::nanoseconds ceiling) const {
  return board_.waitFor(uidOf(name), holds, ceiling);
}

bool KubeletModel::waitUntilGone(const std::string& name, std::chrono::nanoseconds ceiling) const {
  return waitFor(
      name, [](const PodStatus& status) { return status.gone; }, ceiling);
}

void KubeletModel::killStranger(const SeenContainer& container) {
  log_.add("", container.name(), "Killing", "a container of an unknown pod");
  if (const auto stopped = kubelet_.stopContainer(container.id, std::chrono::seconds(0)); !stopped)
    log_.add("", container.name(), "FailedKillPod", stopped.error().message());
}

int KubeletModel::collectContainers() {
  std::set<std::string> uids;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, uid] : uids_) uids.insert(uid);
  }
  return model::collectContainers(kubelet_, runtime_, logs_, uids);
}

int KubeletModel::collectImages() {
  return model::collectImages(kubelet_, runtime_);
}

}  // namespace fallbackd::e2e::model
