// A reporter of Node's own test runner: writes each test with its file and the names around it.
'use strict'

const fs = require('fs')
const { Transform } = require('stream')

// Reads the events of one run, in their order.
function reading () {
  const cases = []
  const around = []
  const names = data => {
    around.length = Math.max(data.nesting, 0)
    while (around.length < data.nesting) around.push('')
    return [...around, data.name]
  }
  const see = (type, data) => {
    if (type === 'test:start') {
      names(data)
      around[data.nesting] = data.name
    } else if (type === 'test:pass' || type === 'test:fail') {
      const all = names(data)
      const isFine = type === 'test:pass'
      const details = data.details || {}
      const error = details.error || {}
      const cause = error.cause || error
      const message = isFine ? '' : String((cause && cause.stack) || error.message || cause || '')
      const isFile = data.file && (data.name === data.file || data.file.endsWith('/' + data.name))
      const outcome = !isFine ? (data.todo === undefined ? 'failed' : 'passed') : data.skip !== undefined ? 'skipped' : 'passed'
      const isTold = error.failureType === 'subtestsFailed' // by those that failed
      const counts = !isTold && (details.type !== 'suite' || outcome === 'failed')
      if (counts) cases.push([data.file || '', isFile ? [] : all, isFile && !isFine ? 'error' : outcome, message.slice(-4000)])
    }
  }
  return { cases, see }
}

const { cases, see } = reading()
module.exports = new Transform({
  writableObjectMode: true,
  transform ({ type, data }, encoding, done) {
    see(type, data)
    done()
  },
  flush (done) {
    fs.writeFileSync(process.env.LOCKGATE_REPORT, JSON.stringify(cases))
    done()
  }
})
module.exports.reading = reading
