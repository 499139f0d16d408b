// Loaded into every Node process that the tests start. The test runner among them is asked for a report of its own:
// however deep it is called (npm in make in a shell), and in every package of a workspace. Also mocha's reporter.
'use strict'

const fs = require('fs')
const path = require('path')

const REPORTS = process.env.LOCKGATE_REPORTS || '/lockgate/reports'
const TALKS = /^(-h|--help|-v|-V|--version|--listTests|--showConfig|--show-config|--clearCache|init|list)$/
const RUNNERS = [
  [/[\\/](jest|jest-cli)[\\/]bin[\\/]jest(\.js)?$|[\\/]react-scripts[\\/]bin[\\/]react-scripts\.js$|[\\/]react-scripts[\\/]scripts[\\/]test\.js$/, jest],
  [/[\\/]vitest[\\/](vitest\.mjs|dist[\\/]cli(-wrapper)?\.js)$/, vitest],
  [/[\\/]mocha[\\/]bin[\\/]_?mocha(\.js)?$|[\\/]mocha[\\/]lib[\\/]cli[\\/]cli\.[cm]?js$/, mocha],
  [/[\\/]ava[\\/](entrypoints[\\/]cli\.mjs|cli\.js)$/, ava],
  [/[\\/]tap[\\/](dist[\\/]esm[\\/]run\.mjs|bin[\\/]run\.m?js)$/, tap],
]

function begun (runner, kind) {
  const name = `${process.hrtime.bigint()}-${process.pid}`
  fs.mkdirSync(REPORTS, { recursive: true })
  const file = path.join(REPORTS, `${name}.${kind}`)
  const told = { runner, kind, cwd: process.cwd(), report: path.basename(file) }
  fs.writeFileSync(path.join(REPORTS, `${name}.begun`), JSON.stringify(told))
  return file
}

// A runner that started itself again, with what it was told: for its coverage, or with other options of Node.
function isAsked (option) {
  return process.argv.some(word => word.startsWith(`${option}=${REPORTS}/`))
}

function jest () {
  if (/react-scripts/.test(process.argv[1]) && !/scripts[\\/]test\.js$/.test(process.argv[1])) return // it starts another
  process.argv.push('--json', `--outputFile=${begun('jest', 'jest')}`)
}

function vitest () {
  if (process.argv[2] === 'bench' || isAsked('--outputFile.json')) return
  process.argv.push('--reporter=default', '--reporter=json', `--outputFile.json=${begun('vitest', 'jest')}`)
}

function mocha () {
  if (process.argv.includes(__filename)) return // mocha started itself again, with what it was told
  const kept = []
  for (let at = 2; at < process.argv.length; at++) {
    const word = process.argv[at]
    if (word === '--reporter' || word === '-R') at++
    else if (!/^(--reporter|-R)=/.test(word)) kept.push(word)
  }
  process.argv.splice(2, process.argv.length, '--reporter', __filename, ...kept)
}

class Mocha {
  constructor (runner) {
    const cases = new Cases('mocha')
    const told = (test, outcome, err) => {
      const names = []
      for (let one = test; one; one = one.parent) if (one.title) names.unshift(one.title)
      const titles = typeof test.titlePath === 'function' ? test.titlePath() : names
      const message = err ? String(err.stack || err.message || err) : ''
      process.stdout.write(`${outcome === 'passed' ? 'ok' : outcome} - ${titles.join(' > ')}\n${message && message + '\n'}`)
      cases.add(test.file || (test.parent && test.parent.file), titles, outcome, message)
    }
    runner.on('pass', test => told(test, 'passed'))
    runner.on('pending', test => told(test, 'skipped'))
    runner.on('fail', (test, err) => told(test, 'failed', err))
    runner.on('end', () => cases.write())
  }
}

function ava (program) {
  const cases = new Cases('ava')
  const bad = { 'test-failed': 'failed', 'hook-failed': 'failed' }
  const crashes = ['uncaught-exception', 'unhandled-rejection', 'worker-failed', 'missing-ava-import', 'internal-error', 'timeout', 'process-exit']
  const see = event => {
    const file = event.testFile
    if (event.type === 'test-passed') cases.add(file, [event.title], 'passed')
    else if (bad[event.type]) cases.add(file, [event.title], bad[event.type], reason(event.err))
    else if (event.type === 'selected-test' && (event.skip || event.todo)) cases.add(file, [event.title], 'skipped')
    else if (crashes.includes(event.type)) {
      const files = event.pendingTests ? [...event.pendingTests] : [[file, new Set()]]
      for (const [path, titles] of files) {
        cases.add(path, [], 'error', reason(event.err) || event.type)
        for (const title of titles) cases.add(path, [title], 'error', event.type)
      }
    }
  }
  const home = path.dirname(program)
  const status = path.join(/entrypoints$/.test(home) ? path.dirname(home) : home, 'lib', 'run-status.js')
  import(require('url').pathToFileURL(status)).then(({ default: RunStatus }) => {
    const emit = RunStatus.prototype.emitStateChange
    RunStatus.prototype.emitStateChange = function (event) {
      see(event)
      return emit.apply(this, arguments)
    }
    process.on('exit', () => cases.write())
  }).catch(() => {}) // a release with another inside: it began and has no report, which says so
}

function reason (err) {
  return err ? String(err.stack || (err.originalError && err.originalError.stack) || err.message || err.summary || '') : ''
}

function tap () {
  if (isAsked('--output-file')) return
  process.argv.push(`--output-file=${begun('tap', 'tap')}`)
}

// node --test takes reporters as options alone: it is started again with ours beside those that it has.
function node () {
  const options = process.execArgv
  const words = [`--test-reporter=${path.join(__dirname, 'node_reporter.cjs')}`, '--test-reporter-destination=stderr']
  const named = options.filter(word => /^--test-reporter(=|$)/.test(word)).length
  const sent = options.filter(word => /^--test-reporter-destination(=|$)/.test(word)).length
  if (named === 0) words.unshift('--test-reporter=spec', '--test-reporter-destination=stdout')
  else if (sent < named) words.unshift('--test-reporter-destination=stdout')
  const file = begun('node', 'cases')
  const done = require('child_process').spawnSync(process.execPath, [...options, ...words, ...process.argv.slice(1)], {
    stdio: 'inherit', env: { ...process.env, LOCKGATE_REPORT: file }
  })
  process.exit(done.status === null ? 1 : done.status)
}

// A program of its own, such as borp, that calls the runner of node:test.
function runs () {
  if (process.env.NODE_TEST_CONTEXT || process.execArgv.includes('--test')) return
  try {
    const test = require('node:test')
    const run = test.run
    test.run = function () {
      const stream = run.apply(this, arguments)
      const file = begun('node', 'cases')
      const { cases, see } = require('./node_reporter.cjs').reading()
      for (const type of ['test:start', 'test:pass', 'test:fail']) stream.on(type, data => see(type, data))
      process.on('exit', () => fs.writeFileSync(file, JSON.stringify(cases)))
      return stream
    }
    require('module').syncBuiltinESMExports()
  } catch {} // a Node that has no such runner
}

// What tests say things by, as it was before anything of theirs was loaded. What is another one when a process ends is
// told, and compared with what base's tests leave: a product can put its own there, so that no assertion fails. (`run`
// of node:test is another one by what stands above.)
function watch () {
  const { join } = path
  const { mkdirSync, writeFileSync } = fs
  const places = { Object: { is: Object.is } }
  for (const name of ['assert', 'util', 'node:test']) {
    try {
      places[name] = require(name)
    } catch {} // a Node that has no such runner
  }
  places['assert.strict'] = places.assert.strict
  const known = []
  for (const [place, holder] of Object.entries(places)) {
    const owner = place === 'Object' ? Object : holder
    for (const name of place === 'util' ? ['isDeepStrictEqual'] : Object.keys(holder)) {
      if (typeof holder[name] === 'function' && name !== 'run') known.push([`${place}.${name}`, owner, name, owner[name]])
    }
  }
  process.on('exit', () => {
    const names = known.filter(([, owner, name, value]) => owner[name] !== value).map(([said]) => said)
    if (names.length === 0) return
    mkdirSync(REPORTS, { recursive: true })
    writeFileSync(join(REPORTS, `${process.hrtime.bigint()}-${process.pid}.replaced`), JSON.stringify(names))
  })
}

class Cases {
  constructor (runner) {
    this.file = begun(runner, 'cases')
    this.cases = []
  }

  add (file, names, outcome, message = '') {
    this.cases.push([file ? path.resolve(String(file).replace(/^file:\/\//, '')) : '', names.map(String), outcome, String(message).slice(-4000)])
  }

  write () {
    fs.writeFileSync(this.file, JSON.stringify(this.cases))
  }
}

function real (program) {
  try {
    return fs.realpathSync(program)
  } catch {
    return program // in an archive, as yarn keeps packages
  }
}

function start () {
  if (!require('worker_threads').isMainThread) return
  watch()
  const isTest = process.execArgv.includes('--test')
  if (isTest && !process.env.NODE_TEST_CONTEXT && !process.env.LOCKGATE_REPORT) return node()
  if (!process.argv[1] || process.argv.slice(2).some(word => TALKS.test(word))) return
  const program = real(process.argv[1])
  const found = RUNNERS.find(([pattern]) => pattern.test(program) || pattern.test(process.argv[1]))
  if (found) return found[1](program)
  if (!/[\\/](npm|npx|pnpm|yarn|corepack)[\\/](bin|dist|lib)[\\/]/.test(program)) runs()
}

module.exports = Mocha
module.exports.Cases = Cases
if (!process.env.LOCKGATE_LOADED_BY_REPORTER) start()
