// SPDX-License-Identifier: Apache-2.0
#include "watcher/credential_providers.hpp"

#include "base/async/event.hpp"
#include "base/async/loop_clock.hpp"
#include "base/strings.hpp"
#include "watcher/provider_protocol.hpp"

#include <algorithm>
#include <utility>

namespace fallbackd::watcher {

namespace asio = boost::asio;

namespace {

// Programs that start others need one; kubelet passes its own environment.
constexpr const char* kPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

bool serves(const config::CredentialProvider& provider, const ImageReference& reference) {
  return std::any_of(provider.matchImages.begin(), provider.matchImages.end(),
                     [&](const auto& pattern) { return pattern.matches(reference); });
}

void addTo(std::string& troubles, const std::string& trouble) {
  if (!troubles.empty()) troubles += "; ";
  troubles += trouble;
}

std::string inMessage(const config::CredentialProvider& provider) {
  return "credential provider " + quoted(provider.name);
}

ProviderProgram programFor(const config::CredentialProviders& where,
                           const config::CredentialProvider& provider, const ImageReference& reference) {
  ProviderProgram program{where.binDir, provider.name, provider.args, {}, providerRequest(reference),
                          where.config};
  const auto setsPath = [](const std::string& one) { return one.starts_with("PATH="); };
  if (std::none_of(provider.env.begin(), provider.env.end(), setsPath)) program.env.emplace_back(kPath);
  program.env.insert(program.env.end(), provider.env.begin(), provider.env.end());
  return program;
}

}  // namespace

/// A running program, and its waiters.
struct CredentialProviders::Run {
  Run(const asio::any_io_executor& executor, Stamp now, std::string name, std::string cacheKey,
      ImageReference about)
      : provider(std::move(name)),
        key(std::move(cacheKey)),
        reference(std::move(about)),
        begun(now),
        done(executor) {}
  std::string provider;
  std::string key;
  ImageReference reference;
  Stamp begun;
  std::optional<Result<Answer>> outcome;
  Event done;  // set when the outcome is there
};

CredentialProviders::CredentialProviders(asio::any_io_executor executor)
    : executor_(executor), clock_(LoopClock::of(executor)), tasks_(std::move(executor)) {}

cri::Awaitable<FoundCredentials> CredentialProviders::find(config::CredentialProviders where,
                                                           ImageReference reference) {
  const auto deadline = clock_.now() + std::chrono::duration_cast<Monotonic::duration>(limit_);
  FoundCredentials found;
  const auto providers = co_await read(where);
  if (!providers) {
    found.trouble = providers.error().context;
    co_return found;
  }
  std::vector<std::pair<config::CredentialProvider, std::shared_ptr<Run>>> asked;
  for (const auto& provider : **providers) {
    if (!serves(provider, reference)) continue;
    if (provider.needsToken) {
      addTo(found.trouble, inMessage(provider) +
                               " needs a token of the pod's service account (tokenAttributes), which "
                               "fallbackd does not have; give the credentials in a dockerconfigjson");
      continue;
    }
    // All of them at once, since they share the time limit.
    const bool kept = cache_.find(provider.name, reference, clock_.now()) != nullptr;
    asked.emplace_back(provider, kept ? nullptr : join(where, provider, reference));
  }
  for (const auto& [provider, run] : asked) {
    const auto answer = co_await answerOf(where, provider, run, reference, deadline);
    if (!answer) {
      addTo(found.trouble, inMessage(provider) + ": " + answer.error().context);
      continue;
    }
    found.credentials = (*answer)->credentialsFor(reference);
    if (found.credentials) break;
  }
  co_return found;
}

/// The file is read each time, so that a change takes effect at once.
cri::Awaitable<Result<std::shared_ptr<const CredentialProviders::Providers>>> CredentialProviders::read(
    config::CredentialProviders where) {
  if (!reader_ || !runner_) {
    co_return fail(Stage::detection, Reason::unavailable, "credential providers cannot be run here");
  }
  const auto text = co_await reader_(where.config);
  if (!text) {
    co_return fail(Stage::detection, text.error().reason,
                   "kubelet's credential providers cannot be read: " + text.error().message());
  }
  if (providers_ == nullptr || *text != text_ || !(where == readFrom_)) {
    config::Problems problems;
    auto read = config::readProviderFile(where.config, *text, problems);
    if (problems.count() > 0) {
      const auto more = problems.count() - 1;
      const auto others = more == 0 ? std::string() : ", and " + std::to_string(more) + " more";
      co_return fail(
          Stage::detection, Reason::invalid,
          "kubelet's credential providers are refused: " + problems.take().front().toString() + others);
    }
    providers_ = std::make_shared<const Providers>(std::move(read));
    text_ = *text;
    readFrom_ = where;
    // What other arguments gave may not be what these would give.
    cache_.clear();
    habits_.clear();
    runs_.clear();
  }
  co_return providers_;
}

std::shared_ptr<CredentialProviders::Run> CredentialProviders::join(
    const config::CredentialProviders& where, const config::CredentialProvider& provider,
    const ImageReference& reference) {
  const auto& habit = habits_[provider.name];
  const auto key = cacheKeyOf(habit.keyType, reference);
  if (const auto found = runs_.find({provider.name, key}); found != runs_.end()) return found->second;
  const bool another = std::any_of(runs_.begin(), runs_.end(),
                                   [&](const auto& one) { return one.first.first == provider.name; });
  // A program that hangs is not started repeatedly.
  if (habit.late && another) return nullptr;
  auto run = std::make_shared<Run>(executor_, clock_.now(), provider.name, key, reference);
  runs_.emplace(std::pair(provider.name, key), run);
  // A separate task: it may outlive its caller.
  tasks_.spawn(perform(run, programFor(where, provider, reference), provider.defaultCacheDuration));
  return run;
}

cri::Awaitable<void> CredentialProviders::perform(std::shared_ptr<Run> run, ProviderProgram program,
                                                  std::chrono::nanoseconds defaultDuration) {
  const auto output = co_await runner_(std::move(program));
  const auto now = clock_.now();
  auto parsed =
      output ? parseProviderAnswer(*output) : Result<ProviderAnswer>(tl::unexpected<Error>(output.error()));
  if (parsed) {
    run->outcome.emplace(std::make_shared<const ProviderAnswer>(std::move(*parsed)));
  } else {
    run->outcome.emplace(tl::unexpected<Error>(std::move(parsed).error()));
  }
  count(*run);
  const auto found = runs_.find({run->provider, run->key});
  // Otherwise the providers were read again meanwhile.
  if (found != runs_.end() && found->second == run) {
    runs_.erase(found);
    auto& habit = habits_[run->provider];
    habit.late = now - run->begun > limit_;
    if (const auto& outcome = *run->outcome) {
      habit.keyType = (*outcome)->keyType;
      cache_.add(run->provider, run->reference, *outcome, defaultDuration, now);
    }
  }
  run->done.set();
}

void CredentialProviders::count(const Run& run) {
  const auto& outcome = *run.outcome;
  if (outcome) {
    ++((*outcome)->credentialsFor(run.reference) ? counts_.given : counts_.none);
  } else if (outcome.error().reason == Reason::timeout) {
    ++counts_.timedOut;
  } else if (outcome.error().reason == Reason::too_large) {
    ++counts_.tooLarge;
  } else if (outcome.error().reason == Reason::protocol) {
    ++counts_.malformed;
  } else {
    ++counts_.failed;
  }
}

cri::Awaitable<Result<CredentialProviders::Answer>> CredentialProviders::answerOf(
    config::CredentialProviders where, config::CredentialProvider provider, std::shared_ptr<Run> run,
    ImageReference reference, Stamp deadline) {
  for (;;) {
    if (auto kept = cache_.find(provider.name, reference, clock_.now())) co_return kept;
    if (run == nullptr) run = join(where, provider, reference);
    const bool waits = run != nullptr && !run->outcome && !habits_[provider.name].late;
    if (waits) co_await run->done.waitUntil(deadline);
    if (run == nullptr || !run->outcome) {
      habits_[provider.name].late = true;
      ++counts_.notWaitedFor;
      co_return fail(Stage::detection, Reason::timeout,
                     "no answer within " + formatDuration(limit_) +
                         "; the image is pulled without its "
                         "credentials");
    }
    const auto& outcome = *run->outcome;
    if (!outcome) co_return outcome;
    // A run for another image serves this one only if its answer says so.
    const auto type = (*outcome)->keyType;
    if (cacheKeyOf(type, run->reference) == cacheKeyOf(type, reference)) co_return outcome;
    run = nullptr;
  }
}

}  // namespace fallbackd::watcher
